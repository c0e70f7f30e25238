"""Drives one batch with the runner of `producers/batch/`, in a thread and event loop of its own:
the runner writes to the disk, which the event loop of HTTP must not wait for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import Final

from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.producers.batch.asking import Asker, Service
from local_llm_service.producers.batch.ledger import Ledger
from local_llm_service.producers.batch.ledger_file import InUse
from local_llm_service.producers.batch.lines import Files
from local_llm_service.producers.batch.output import ErrorLines, NotWritten, Output
from local_llm_service.producers.batch.records import NotHeld, Records
from local_llm_service.producers.batch.run import End, Run
from local_llm_service.producers.batch.window import Window
from local_llm_service.producers.batch.writing import Writing
from local_llm_service.producers.http.batches.line_plan import LineForm, LinePlan
from local_llm_service.producers.http.batches.places import BatchPlaces
from local_llm_service.producers.http.batches.record import BatchStatus, Progress
from local_llm_service.producers.http.batches.validation import Findings, validate
from local_llm_service.producers.service import workers
from local_llm_service.worker.errors import (
    BrokerUnsafe,
    Cancelled,
    DeadlineExceeded,
    FilesUnavailable,
    InvalidRequest,
    ServiceError,
)

#: How often a run looks at what it is told.
LOOK_SECONDS: Final = 0.2
#: How long a run goes on without a lease: Redis may be back in a moment.
PATIENCE_SECONDS: Final = 5.0
#: How long a batch that cannot go on is left alone: while another process still has its files, and
#: while the disk, or Redis, does not take it.
IN_USE_SECONDS, TROUBLE_SECONDS = 1.0, 15.0


@dataclass(frozen=True)
class Pause:
    """The batch is to go on, with a driver's next claim, after so many seconds."""

    seconds: float = 0.0


@dataclass
class Drive:
    """One batch under one lease. `run` is for a thread; all else may be read or set by another.

    `check_model` raises what the endpoint would for a model; `digests` are of models by name.
    """

    places: BatchPlaces
    token: int
    client: AsyncClient = field(repr=False)
    max_body_bytes: int
    progress: Progress
    check_model: Callable[[str | None], None] = field(repr=False)
    digests: Callable[[], Mapping[str, str]] = field(repr=False)
    #: Until when nobody else can have the batch, by the monotonic clock.
    held_until: float = 0.0
    #: End now; the next driver goes on.
    is_interrupted: bool = False
    #: Somebody has cancelled the batch.
    is_cancelled: bool = False

    def may_write(self) -> bool:
        """Whether the batch is this driver's for certain."""
        return monotonic() < self.held_until

    def run(self) -> Pause | None:
        """Drive it; None where it has ended, and `progress` says how. It blocks, for hours."""
        try:
            return None if self.progress.has_ended else asyncio.run(self._run())
        except InUse:
            return Pause(IN_USE_SECONDS)
        except NotHeld:
            return Pause()
        except (NotWritten, FilesUnavailable, InvalidRequest, sqlite3.Error, OSError):
            return self._trouble(FilesUnavailable.code)
        except BrokerUnsafe as error:
            return self._trouble(error.code)

    def _trouble(self, code: str) -> Pause:
        self.progress = replace(self.progress, waits_for=code)
        return Pause(TROUBLE_SECONDS)

    async def _run(self) -> Pause | None:
        places = self.places
        if not places.disk.root.is_dir():
            raise FilesUnavailable("the folder of files is not there")
        if not places.input.is_file():
            self._fail("files_gone", "the files of this batch are gone")
            return None
        self.progress = replace(self.progress, waits_for=None)
        places.begin(self.progress)
        plan = LinePlan(places.batch, self.max_body_bytes)
        if self.progress.total is None and not self._validate(plan):
            return None if self.progress.has_ended else Pause()
        with ExitStack() as opened:
            try:
                ledger = opened.enter_context(Ledger(str(places.ledger)))
                output = opened.enter_context(_opened(str(places.output)))
                asker = Asker(Service(self.client))
                records = self._records(plan, ledger, output, asker)
                records.begin()
            except InUse:
                raise
            except InvalidRequest:
                self._fail("files_changed", "the files of this batch have been changed")
                return None
            return await self._to_the_end(records, asker)

    def _validate(self, plan: LinePlan) -> bool:
        """Look at all lines; False where nothing may run (now)."""
        source = Files([str(self.places.input)], unpacks=False)
        found = validate(source, plan, lambda: not self.is_interrupted)
        if found is None:
            return False
        if not found.errors:
            self._check_model(found)
        now = int(time())
        if found.errors:
            self.progress = replace(
                self.progress, status=BatchStatus.FAILED, ended_at=now, errors=found.errors
            )
        else:
            self.progress = replace(
                self.progress,
                status=BatchStatus.IN_PROGRESS,
                in_progress_at=now,
                total=found.total,
                model=found.model,
            )
        self.places.keep(self.progress)
        return not found.errors

    def _check_model(self, found: Findings) -> None:
        try:
            self.check_model(found.model)
        except ServiceError as error:
            if not error.retryable:
                found.add("model_not_found", error.message, None, "body.model")

    def _records(self, plan: LinePlan, ledger: Ledger, output: Output, asker: Asker) -> Records:
        """Open what an earlier driver has left. Raises NotHeld where a later one was here."""
        batch = self.places.batch
        if int(ledger.about("driver") or 0) > self.token or not self.may_write():
            raise NotHeld
        ledger.keep("driver", self.token)
        return Records(
            plan,
            ledger,
            Writing(ledger, output),
            ErrorLines(str(self.places.errors)),
            retried_tries=batch.retries,
            form=LineForm(batch, lambda: asker.verdict, self.digests),
            tag=f"{batch.tag}-" if batch.tag else "",
            may_write=self.may_write,
        )

    async def _to_the_end(self, records: Records, asker: Asker) -> Pause | None:
        window = Window(None, workers)
        with suppress(ServiceError):
            await asyncio.to_thread(window.look)
        source = Files([str(self.places.input)], unpacks=False)
        run = Run(source, records, asker, window, show=self._show)
        obeying = asyncio.create_task(self._obey(run, asker))
        try:
            await run.run()
        finally:
            obeying.cancel()
        if run.end is not End.INPUT:
            records.end(everything=False)
            self._show(run)
            return Pause()
        if run.broken is not None:
            self._fail("files_changed", "the files of this batch have been changed")
            return None
        records.end(everything=True)
        self._show(run)
        self._end(asker.verdict)
        return None

    async def _obey(self, run: Run, asker: Asker) -> None:
        """End the run, or all lines that have no answer, as soon as that is asked for."""
        while True:
            # Whoever cannot keep what comes stops asking, or it gathers in memory.
            if self.is_interrupted or monotonic() > self.held_until + PATIENCE_SECONDS:
                run.interrupt()
            elif verdict := self._verdict():
                with suppress(ServiceError):  # Redis is away: again in a moment
                    await asker.give_up(verdict)
            await asyncio.sleep(LOOK_SECONDS)

    def _verdict(self) -> ServiceError | None:
        if self.is_cancelled:
            return Cancelled("the batch was cancelled")
        end = self.places.batch.expires_at
        return DeadlineExceeded("the batch has expired") if end and time() >= end else None

    def _show(self, run: Run) -> None:
        records, total = run.records, run.records.total
        self.progress = replace(
            self.progress,
            completed=total.answered,
            failed=records.failed_now,
            prompt_tokens=total.prompt_tokens,
            completion_tokens=total.completion_tokens,
            output_bytes=records.written_bytes,
        )

    def _end(self, verdict: ServiceError | None) -> None:
        """Show the files, and say how the batch has ended."""
        now = int(time())
        self.progress = replace(self.progress, status=BatchStatus.FINALIZING, finalizing_at=now)
        places = self.places
        has_output, has_errors = places.show(places.output, now), places.show(places.errors, now)
        status = BatchStatus.COMPLETED
        if isinstance(verdict, Cancelled):
            status = BatchStatus.CANCELLED
        elif verdict is not None:
            status = BatchStatus.EXPIRED
        ended = replace(
            self.progress,
            status=status,
            ended_at=int(time()),
            has_output=has_output,
            has_errors=has_errors,
        )
        places.keep(ended)
        self.progress = ended

    def _fail(self, code: str, message: str) -> None:
        found = Findings()
        found.add(code, message)
        self.progress = replace(
            self.progress,
            status=BatchStatus.FAILED,
            ended_at=int(time()),
            errors=found.errors,
        )
        with suppress(FilesUnavailable):
            self.places.keep(self.progress)


@contextmanager
def _opened(path: str) -> Iterator[Output]:
    """The output, open. Raises InUse, and FilesUnavailable where it cannot be opened at all."""
    try:
        output = Output(path)
    except InUse:
        raise
    except InvalidRequest:
        raise FilesUnavailable("the output cannot be opened") from None
    try:
        yield output
    finally:
        output.close()
