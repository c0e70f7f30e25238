"""Lines from a query and answers into a table, by SQLAlchemy (the extra `batch`).

No text of a database's error is passed on: it may hold a row.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local_llm_service.producers.batch.lines import Line, digest_of
from local_llm_service.producers.batch.output import NotWritten
from local_llm_service.tasks.kind import Kind
from local_llm_service.worker.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Rows that the database sends at a time.
ROWS_AT_ONCE: Final = 100

#: Columns that hold JSON, also where the database calls them text.
_JSON_COLUMNS: Final = ("messages", "conversations", "conversation", "function_schema", "schema")
_INSTALL: Final = "Install it: pip install 'local-llm-service[batch]'."


def open_database(url: str) -> Engine:
    """SQLAlchemy's engine for a URL. Raises InvalidRequest, also for a missing package."""
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError:
        raise InvalidRequest("--from-sql and --write-sql need SQLAlchemy", _INSTALL) from None
    try:
        address = make_url(url)
        if address.drivername in ("postgres", "postgresql"):
            newer = find_spec("psycopg") is not None
            address = address.set(drivername=f"postgresql+psycopg{'' if newer else '2'}")
        file = address.database if address.get_backend_name() == "sqlite" else None
        if file and not Path(file).exists():
            raise InvalidRequest(f"{file}: there is no such database", "Give a file that exists.")
        return create_engine(address)
    except ModuleNotFoundError as error:
        hint = "Install its package; for PostgreSQL: pip install 'psycopg[binary]'."
        raise InvalidRequest(f"the database's driver {error.name} is missing", hint) from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        pass
    hint = "For example postgresql://user@host/name, or sqlite:////folder/file.db."
    raise InvalidRequest("--from-sql: is no URL of a database", hint)


class Rows:
    """The rows of a query, each with its id in `custom_id` or the column that `id_column` names.

    They are read through a cursor of the server. `aside`: they are copied into a file first, so
    that the cursor holds up nobody who writes into the same SQLite.
    """

    keeps_order = False

    def __init__(self, database: Engine, query: str, id_column: str | None, *, aside: bool) -> None:
        self._database, self._query = database, query
        self._id, self._aside = id_column or "custom_id", aside

    def lines(self) -> Iterator[Line]:
        """See Source.lines; also raises InvalidRequest for a query that the database refuses."""
        from sqlalchemy.exc import SQLAlchemyError

        read = 0
        try:
            texts = self._copied() if self._aside else self._rows()
            for read, text in enumerate(texts, 1):
                yield Line(read, f"row {read}", text, digest_of(text))
        except SQLAlchemyError as error:
            raise InvalidRequest(
                f"--query: the database ended it after row {read} ({name_of(error)})",
                "Try the query in the database's own client, then start the same command again.",
            ) from None
        finally:
            self._database.dispose()

    def _rows(self) -> Iterator[bytes]:
        options = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
        with self._database.connect() as connection:
            reading = connection.execution_options(**options)
            result = reading.exec_driver_sql(self._verbatim())
            if not result.returns_rows or self._id not in result.keys():  # noqa: SIM118
                raise InvalidRequest(
                    f"--query: gives no column {self._id}",
                    "Select the key under that name (SELECT id AS custom_id, …), "
                    "or name its column by --id-field.",
                )
            for row in result.mappings():
                yield self._text(row)

    def _verbatim(self) -> str:
        """The query with nothing in it that the driver could take for a parameter."""
        has_percents = self._database.dialect.paramstyle in ("format", "pyformat")
        return self._query.replace("%", "%%") if has_percents else self._query

    def _copied(self) -> Iterator[bytes]:
        with tempfile.TemporaryFile() as file:
            for text in self._rows():
                file.write(text + b"\n")
            file.seek(0)
            for line in file:
                yield line.rstrip(b"\n")

    def _text(self, row: Mapping[Any, Any]) -> bytes:
        """A row as the line of a file would be."""
        fields = {str(name): value for name, value in row.items() if value is not None}
        for name in _JSON_COLUMNS:
            if isinstance(fields.get(name), str):
                with suppress(ValueError, RecursionError):
                    fields[name] = json.loads(fields[name])
        if self._id in fields:
            custom_id = fields.pop(self._id)
            is_plain = isinstance(custom_id, int | str)
            fields["custom_id"] = custom_id if is_plain else str(custom_id)
        return json.dumps(fields, sort_keys=True, default=str).encode()


class Statement:
    """An INSERT or UPDATE that each answer is written with: `:custom_id`, `:task_id`, or a field of
    the kind's answer. It may run again for the same answer, so it must not add up.

    Raises InvalidRequest for a name that no answer has.
    """

    def __init__(self, database: Engine, statement: str, kind: Kind) -> None:
        from sqlalchemy import text

        self._database, self._text = database, text(statement)
        self._names = list(self._text.compile().params)
        known = {"custom_id", *kind.answer.model_fields}
        if unknown := sorted(set(self._names) - known):
            raise InvalidRequest(
                f"--write-sql: no answer has {', '.join(unknown)}",
                f"There are {', '.join(f':{name}' for name in sorted(known))}.",
            )
        #: Answers for which the statement has changed no row, so far as the database tells.
        self.unmatched = 0
        #: Why the database could not be written at the last try; "" when it could.
        self.trouble = ""

    def close(self) -> None:
        """Close the connections."""
        self._database.dispose()

    def pay(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run it for each row, all in one transaction; False while the database is away or busy.

        Raises NotWritten where another try would change nothing.
        """
        from sqlalchemy.exc import SQLAlchemyError

        given = [{name: _plain(row.get(name)) for name in self._names} for row in rows]
        try:
            with self._database.begin() as connection:
                changed = connection.execute(self._text, given).rowcount
        except SQLAlchemyError as error:
            if not _may_pass(error):
                raise NotWritten("the database", name_of(error)) from None
            self.trouble = name_of(error)
            return False
        self.trouble = ""
        self.unmatched += len(given) - changed if 0 <= changed < len(given) else 0
        return True


def name_of(error: Exception) -> str:
    """The kind of a database's error, and its code where it has one; never its text."""
    inner = getattr(error, "orig", None) or error
    code = getattr(inner, "sqlstate", None) or getattr(inner, "sqlite_errorname", None)
    return f"{type(inner).__name__} {code}" if code else type(inner).__name__


def _may_pass(error: Exception) -> bool:
    """Whether the same statement may work later: a lost connection, a lock, a server that starts.

    SQLite also calls a missing table an OperationalError.
    """
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    inner = getattr(error, "orig", None)
    if name := getattr(inner, "sqlite_errorname", None):
        return str(name).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    is_away = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_away or isinstance(error, OperationalError | InterfaceError)


def _plain(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
