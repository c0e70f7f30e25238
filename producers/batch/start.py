"""Puts a batch together and runs it: what `local-llm batch` calls."""

from __future__ import annotations

import asyncio
import math
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.producers.batch.asking import Asker, Service
from local_llm_service.producers.batch.ledger import Ledger
from local_llm_service.producers.batch.limits import Hours, MostFailures
from local_llm_service.producers.batch.lines import Files, Source
from local_llm_service.producers.batch.output import (
    ErrorLines,
    ErrorNotes,
    NotWritten,
    Output,
    Standard,
)
from local_llm_service.producers.batch.places import Places, places_of, refuse_overwriting
from local_llm_service.producers.batch.plan import Plan
from local_llm_service.producers.batch.progress import Progress
from local_llm_service.producers.batch.records import Records
from local_llm_service.producers.batch.run import End, Run
from local_llm_service.producers.batch.summary import Summary
from local_llm_service.producers.batch.window import Window
from local_llm_service.producers.batch.writing import Writing
from local_llm_service.producers.service import workers
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.fleet.prices import compared
from local_llm_service.worker.lazy_settings import lazy_settings

if TYPE_CHECKING:
    from local_llm_service.producers.batch.sql import Statement

#: They end a run cleanly. SIGHUP comes when a terminal closes; under nohup it is ignored.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Order:
    """A batch as the command gives it; the command's help says what each means."""

    plan: Plan
    inputs: Sequence[str] = ()
    output: str | None = None
    ledger: str | None = None
    window: int | None = None
    retry_errors: bool = False
    failures: MostFailures = field(default_factory=MostFailures)
    hours: Hours = field(default_factory=Hours)
    from_sql: str | None = None
    query: str | None = None
    write_sql: str | None = None

    @property
    def reading_plan(self) -> Plan:
        """The plan for lines as they come from the source: rows have their id in custom_id."""
        return self.plan if self.from_sql is None else replace(self.plan, id_field=None)

    def source(self) -> Source:
        """Where the lines come from. Raises InvalidRequest for what cannot be read."""
        if self.from_sql is None:
            if self.query is not None or self.write_sql is not None:
                raise InvalidRequest("--query and --write-sql need --from-sql URL")
            if not self.inputs:
                raise InvalidRequest("give a file, - for stdin, or --from-sql URL with --query")
            return Files(self.inputs)
        if self.inputs or not self.query:
            raise InvalidRequest("--from-sql needs --query, and no file beside it")
        from local_llm_service.producers.batch.sql import Rows, open_database

        database = open_database(self.from_sql)
        # An open cursor keeps every writer out of a SQLite without WAL.
        aside = self.write_sql is not None and database.dialect.name == "sqlite"
        return Rows(database, self.query, self.plan.id_field, aside=aside)

    def statement(self) -> Statement | None:
        """What writes the answers back. Raises InvalidRequest."""
        if self.write_sql is None or self.from_sql is None:
            return None
        from local_llm_service.producers.batch.sql import Statement, open_database

        return Statement(open_database(self.from_sql), self.write_sql, self.plan.of_kind)

    def places(self) -> Places:
        """The files that it writes. Raises InvalidRequest where one is an input."""
        found = places_of(self.output, self.ledger, writes_sql=self.write_sql is not None)
        refuse_overwriting(self.inputs, found)
        return found


def run_batch(order: Order, progress: Progress, say: Callable[[str], None]) -> Summary:
    """Run a batch, from where an earlier run of it ended; `say` is for people.

    Raises InvalidRequest, InvalidSetting, BrokerUnreachable where Redis is away at the start,
    BrokerUnsafe, and NotWritten; what was answered until then is kept.
    """
    source, places, statement = order.source(), order.places(), order.statement()
    compared(lazy_settings().compare_model, lazy_settings().prices_file)  # for the summary
    window = Window(order.window, workers)
    window.look()  # without a Redis, nothing is begun
    with _disk(places), ExitStack() as opened:
        if statement is not None:
            opened.callback(statement.close)
        ledger = opened.enter_context(Ledger(places.ledger))
        output = _open_output(places)
        if output is not None:
            opened.callback(output.close)
        records = Records(
            order.reading_plan,
            ledger,
            Writing(ledger, output, statement, ordered=order.plan.ordered),
            ErrorLines(places.errors) if places.errors else ErrorNotes(say),
            keeps_order=source.keeps_order,
            retried_tries=math.inf if order.retry_errors else 0,
        )
        records.begin()
        run, paid = _run_to_the_end(order, source, records, window, progress)
        owed = "" if paid or statement is None else statement.trouble
        return _summary(order, places, run, statement, owed)


def _open_output(places: Places) -> Output | Standard | None:
    if places.output is None:
        return None
    return Standard() if places.output == "-" else Output(places.output)


@contextmanager
def _disk(places: Places) -> Iterator[None]:
    """Let an error of the ledger's disk be NotWritten."""
    try:
        yield
    except sqlite3.Error as error:
        raise NotWritten(places.ledger or "the ledger", str(error)) from None


def _run_to_the_end(
    order: Order, source: Source, records: Records, window: Window, progress: Progress
) -> tuple[Run, bool]:
    """Run, and keep what there is however the run ends."""
    try:
        run = asyncio.run(_run(order, source, records, window, progress))
    except (NotWritten, sqlite3.Error):
        raise  # the last commit stands
    except BaseException:  # Ctrl-C, too: what is there is kept, and the error goes on
        records.end(everything=False)
        raise
    finally:
        progress.close()
    paid = records.end(everything=run.end is End.INPUT and run.broken is None)
    if run.broken is not None:
        raise run.broken
    return run, paid


async def _run(
    order: Order, source: Source, records: Records, window: Window, progress: Progress
) -> Run:
    async with AsyncClient() as client:
        run = Run(
            source,
            records,
            Asker(Service(client)),
            window,
            hours=order.hours,
            failures=order.failures,
            show=progress.show,
        )
        loop = asyncio.get_running_loop()
        heard = [one for one in _ENDING if signal.getsignal(one) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, run.interrupt)
        try:
            await run.run()
        finally:
            for number in heard:
                loop.remove_signal_handler(number)
        return run


def _summary(
    order: Order, places: Places, run: Run, statement: Statement | None, owed: str
) -> Summary:
    settings, records = lazy_settings(), run.records
    compared_with = compared(settings.compare_model, settings.prices_file)
    assert run.end is not None
    return Summary(
        kind=order.plan.kind,
        end=run.end,
        run=records.run,
        total=records.total,
        failed_now=records.failed_now,
        collected=records.skipped,
        added=records.added,
        output=places.output,
        errors=places.errors,
        worth_usd=records.total.worth_usd(compared_with.price),
        prices_from=compared_with.from_where,
        unmatched=0 if statement is None else statement.unmatched,
        owed=owed,
    )
