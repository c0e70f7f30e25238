"""Opens a ledger: its tables, its lock, and how safely SQLite keeps it."""

from __future__ import annotations

import sqlite3
from typing import Final

from local_llm_service.worker.errors import InvalidRequest

_VERSION: Final = 1


class InUse(InvalidRequest):
    """Another run has these files open."""


_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lines (
    number INTEGER PRIMARY KEY, custom_id TEXT, digest BLOB NOT NULL, nth INTEGER NOT NULL,
    state INTEGER NOT NULL, tries INTEGER NOT NULL, error TEXT
);
CREATE UNIQUE INDEX ids ON lines (custom_id) WHERE custom_id IS NOT NULL;
CREATE INDEX equal ON lines (digest, number) WHERE nth > 0;
CREATE INDEX open_lines ON lines (number) WHERE state = 0;
CREATE INDEX failed_lines ON lines (number) WHERE state = 2;
-- Answers that wait: `held` for earlier lines of an ordered output, `owed` for their SQL statement.
CREATE TABLE held (number INTEGER PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE owed (number INTEGER PRIMARY KEY, text BLOB NOT NULL);
"""


def open_ledger(path: str) -> sqlite3.Connection:
    """Open a ledger for this process alone, or begin one.

    Raises InvalidRequest when another run has it, or the file is no ledger; sqlite3.Error for a
    disk that does not take it.
    """
    database = sqlite3.connect(path, timeout=0)
    try:
        # SQLite holds its lock from the first write until the process is gone, however it ends.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN EXCLUSIVE")
        _prepare(database)
        database.commit()
    except sqlite3.DatabaseError as error:
        database.close()
        raise _refusal(path, error) from None
    except BaseException:  # Ctrl-C, too: the lock on the file ends with the connection
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version == 0 and tables == 0:
        for statement in _TABLES.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")
    elif version != _VERSION:
        raise InvalidRequest(
            "the ledger is of another version of local-llm-service, or no ledger",
            "Finish this batch with the version that began it, or give another output.",
        )
    # The lock is taken by the first write, so there must be one.
    database.execute("INSERT OR REPLACE INTO about VALUES ('opened', '1')")


def _refusal(path: str, error: sqlite3.DatabaseError) -> Exception:
    text = str(error)
    if "locked" in text:
        return InUse(
            f"another run writes this output: it holds {path}",
            "Wait until it ends, or give another output.",
        )
    if "not a database" in text or "malformed" in text:
        return InvalidRequest(
            f"{path}: is no ledger of a batch, or is broken",
            "Move it and its output away to begin anew, or give another output.",
        )
    return error
