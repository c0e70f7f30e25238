"""Keeps what becomes of each line, and says which lines are jobs.

A group of lines is kept in this order: output written and on the disk; then one transaction of the
ledger with the lines and the output's size; then the SQL statement, until which the ledger owes its
answers. So whatever dies in between, the next start knows what is missing and repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from local_llm_service.producers.batch.formats import Reading
from local_llm_service.producers.batch.ledger import Entry, Ledger, LineState
from local_llm_service.producers.batch.lines import Line
from local_llm_service.producers.batch.output import ErrorLines
from local_llm_service.producers.batch.plan import Reads
from local_llm_service.producers.batch.tally import Tally
from local_llm_service.producers.batch.writing import Writing, json_text
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import InvalidRequest, ServiceError

#: A group is kept after so many lines or seconds, whichever comes first.
GROUP_LINES: Final = 200
GROUP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class LineJob:
    """A line that is to be a job."""

    entry: Entry
    place: str
    task_id: str
    arguments: Mapping[str, Any]
    kind: str
    context: Any = None
    #: An earlier run may have sent it.
    is_resumed: bool = False


class Form(Protocol):
    """How a line's end is written: into the output, and into the file of errors."""

    def answered(self, line_job: LineJob, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """A line with its answer, as plain data."""

    def failed(self, ids: Mapping[str, str | None], error: ServiceError) -> Mapping[str, Any]:
        """A failed line. `ids` are custom_id, task_id (None: it never was a job), and line, its
        place."""


class OwnForm:
    """The lines that `local-llm batch` writes."""

    def answered(self, line_job: LineJob, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Form."""
        ids = {"custom_id": line_job.entry.custom_id, "task_id": line_job.task_id}
        return {**ids, "answer": answer}

    def failed(self, ids: Mapping[str, str | None], error: ServiceError) -> Mapping[str, Any]:
        """See Form."""
        said = {"code": error.code, "message": error.message, "hint": error.hint}
        return {**ids, "error": said}


class NotHeld(Exception):
    """Somebody else may write these files by now: nothing more is kept."""


class Records:
    """All that one run keeps. `begin` comes first, `end` last, `commit` in between.

    `keeps_order`: lines are known by their number; otherwise, rows of a table, by their id. A
    failed line is tried again while it has had at most `retried_tries` tries. `tag` begins the ids
    of all jobs. Nothing is kept while `may_write` is False.
    """

    def __init__(
        self,
        plan: Reads,
        ledger: Ledger,
        writing: Writing,
        errors: ErrorLines,
        *,
        keeps_order: bool = True,
        retried_tries: float = 0,
        form: Form | None = None,
        tag: str = "",
        may_write: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._ledger, self._writing, self._errors = plan, ledger, writing, errors
        self._keeps_order, self._retried_tries, self._clock = keeps_order, retried_tries, clock
        self._form, self._tag, self._may_write = form or OwnForm(), tag, may_write
        #: Over all runs of the batch, and of this one.
        self.total, self.run = Tally(), Tally()
        #: Lines that an earlier run has ended, met again in this one.
        self.skipped = 0
        #: Lines that are failed now, over all runs.
        self.failed_now = 0
        #: Lines that came to an input which an earlier run had read to its end.
        self.added = 0
        self._last_seen = 0
        self._uncommitted, self._group_began, self._began = 0, clock(), clock()
        self._seconds_before = 0.0
        self._number = 0
        self._open: set[str] = set()
        self._answered: list[str] = []

    def load(self) -> None:
        """Read what earlier runs have done. Raises InvalidRequest for another batch's ledger."""
        self._ledger.keep_plan(self._plan.kept())
        self.total = Tally.of(self._ledger.about("tally"))
        self._seconds_before = self.total.seconds
        self._number = self._ledger.last_number()
        self.failed_now = self._ledger.count(LineState.FAILED)
        self._began = self._clock()

    def begin(self) -> None:
        """Go back to the last commit. Raises InvalidRequest for another batch's files."""
        self.load()
        self._writing.begin()
        self._errors.rewrite(self._ledger.error_lines())
        self._ledger.keep("running", True)
        self._ledger.commit()

    def look(self, line: Line) -> LineJob | None:
        """The job of a line; None when it ended in an earlier run, or is no call.

        Raises InvalidRequest when the line is not the one that the ledger has in its place.
        """
        self._last_seen = line.number
        if self._keeps_order:
            known = self._ledger.by_number(line.number)
            if known is not None:
                return self._look_again(known, line)
            return self._look_anew(line, self._plan.read(line.text))
        return self._look_at_row(line, self._plan.read(line.text))

    def answered(self, line_job: LineJob, answer: Answer) -> None:
        """The line has its answer; it is written when its turn comes."""
        number, custom_id = line_job.entry.number, str(line_job.entry.custom_id)
        self._open.discard(custom_id)
        self._ledger.answer(number)
        plain = answer.plain()
        row = {**plain, "custom_id": custom_id, "task_id": line_job.task_id}
        self._writing.add(number, row, self._form.answered(line_job, plain))
        self._answered.append(line_job.task_id)
        for tally in (self.total, self.run):
            tally.count_answer(answer)
        self._count()

    def failed(self, line_job: LineJob, error: ServiceError) -> None:
        """The line has failed, until somebody says --retry-errors."""
        self._open.discard(str(line_job.entry.custom_id))
        self._fail(
            line_job.entry, line_job.place, line_job.entry.custom_id, error, line_job.task_id
        )

    def is_due(self) -> bool:
        """Whether a group should be kept now."""
        if self._uncommitted == 0 or not self._may_write():
            return False
        late = self._clock() - self._group_began >= GROUP_SECONDS
        return late or self._uncommitted >= GROUP_LINES or self._writing.is_full()

    def commit(self, *, everything: bool = False) -> list[str]:
        """Keep all until here; return the ids of jobs that nobody needs any more.

        `everything`: no further line will come, so no answer waits for one. Raises NotWritten,
        NotHeld, and sqlite3.Error for the ledger's disk.
        """
        if not self._may_write():
            raise NotHeld
        done = False
        while not done:
            done = self._writing.flush(everything=everything)
            self._errors.flush()
            self._ledger.keep("tally", self._tallied())
            self._ledger.commit()
        self._uncommitted, self._group_began = 0, self._clock()
        self._writing.pay()
        answered, self._answered = self._answered, []
        return answered

    @property
    def written_bytes(self) -> int:
        """How far the output is kept: between two calls of `commit`, for good."""
        return self._writing.written_bytes

    def check_the_end(self) -> None:
        """Raise InvalidRequest where the input has ended before lines that the ledger has."""
        last = self._ledger.last_number()
        if self._keeps_order and self._last_seen < last:
            raise InvalidRequest(
                f"the input has {self._last_seen:,} lines, and had {last:,} when this batch began",
                "Give the same input, or another output.",
            )

    def end(self, *, everything: bool) -> bool:
        """Keep the rest; False when the database did not take all. Raises as `commit` does.

        `everything`: the input has ended, and every line with it.
        """
        if everything:
            before = self._ledger.about("input_lines")
            self.added = 0 if before is None else self._ledger.last_number() - int(before)
            self._ledger.keep("input_lines", self._ledger.last_number())
        self.commit(everything=everything)
        self._errors.rewrite(self._ledger.error_lines())
        self._ledger.keep("running", False)
        self._ledger.commit()
        return self._writing.pay()

    def _look_anew(self, line: Line, reading: Reading) -> LineJob | None:
        custom_id, nth = reading.custom_id, 0
        if custom_id is None and self._plan.id_field is None:
            nth = self._ledger.equal_before(line.digest, line.number) + 1
            custom_id = line.digest.hex() + (f"-{nth}" if nth > 1 else "")
        is_second = custom_id is not None and self._ledger.by_custom_id(custom_id) is not None
        kept_id = None if is_second else custom_id
        entry = Entry(line.number, kept_id, line.digest, nth, LineState.TAKEN)
        self._ledger.take(entry)
        error = _second() if is_second else reading.error
        if error is not None:
            self._fail(entry, line.place, custom_id, error)
            return None
        return self._job_of(entry, line, reading)

    def _is_tried_again(self, known: Entry) -> bool:
        return known.state is LineState.FAILED and known.tries <= self._retried_tries

    def _look_again(self, known: Entry, line: Line) -> LineJob | None:
        """Look at a line that the ledger has."""
        if known.digest != line.digest:
            return self._look_at_correction(known, line)
        again = known.state is LineState.TAKEN or self._is_tried_again(known)
        reading = self._plan.read(line.text) if again else None
        if reading is None or (known.state is LineState.FAILED and known.custom_id is None):
            self.skipped += 1
            return None
        if known.state is LineState.FAILED:
            known = self._ledger.retry(known)
            self.failed_now -= 1
        if reading.error is not None:
            self._fail(known, line.place, known.custom_id, reading.error)
            return None
        return self._job_of(known, line, reading, is_resumed=True)

    def _look_at_correction(self, known: Entry, line: Line) -> LineJob | None:
        """Look at a failed line that has another content now, and the same id, if it had one.

        Raises InvalidRequest for any other line that was changed.
        """
        reading = self._plan.read(line.text)
        had_own_id = known.custom_id is not None and known.nth == 0
        is_same = not had_own_id or reading.custom_id == known.custom_id
        if not self._is_tried_again(known) or not is_same:
            raise _changed(line)
        self.failed_now -= 1
        if not had_own_id:
            return self._look_anew(line, reading)
        known = self._ledger.retry(known, line.digest)
        if reading.error is not None:
            self._fail(known, line.place, known.custom_id, reading.error)
            return None
        return self._job_of(known, line, reading)

    def _look_at_row(self, line: Line, reading: Reading) -> LineJob | None:
        """Look at a row of a table, whose place among the others says nothing.

        Its content may change: by --write-sql itself, or by whoever corrects what has failed.
        """
        custom_id = reading.custom_id
        known = None if custom_id is None else self._ledger.by_custom_id(custom_id)
        if known is None or (custom_id in self._open and known.digest != line.digest):
            self._number += 1
            return self._look_anew(replace(line, number=self._number), reading)
        is_over = known.state is LineState.ANSWERED or custom_id in self._open
        if is_over or (known.state is LineState.FAILED and not self._is_tried_again(known)):
            self.skipped += 1
            return None
        if known.digest != line.digest and known.state is LineState.TAKEN:
            known = self._ledger.retry(known, line.digest)
        return self._look_again(replace(known, digest=line.digest), line)

    def _job_of(
        self, entry: Entry, line: Line, reading: Reading, *, is_resumed: bool = False
    ) -> LineJob:
        self._open.add(str(entry.custom_id))
        task_id = self._tag + self._ledger.task_id(entry)
        asked = (reading.arguments, reading.kind, reading.context)
        return LineJob(entry, line.place, task_id, *asked, is_resumed)

    def _fail(
        self,
        entry: Entry,
        place: str,
        custom_id: str | None,
        error: ServiceError,
        task_id: str | None = None,
    ) -> None:
        ids = {"custom_id": custom_id, "task_id": task_id, "line": place}
        text = json_text(self._form.failed(ids, error))
        self._ledger.fail(entry.number, text)
        self._errors.add(text)
        self.failed_now += 1
        for tally in (self.total, self.run):
            tally.count_failure(error)
        self._count()

    def _tallied(self) -> Mapping[str, Any]:
        self.run.seconds = self._clock() - self._began
        self.total.seconds = self._seconds_before + self.run.seconds
        return self.total.plain()

    def _count(self) -> None:
        if self._uncommitted == 0:
            self._group_began = self._clock()
        self._uncommitted += 1


def _changed(line: Line) -> InvalidRequest:
    return InvalidRequest(
        f"{line.place}: is not what it was when this batch began",
        "Give the same input (lines may be added at its end, and failed ones corrected, with "
        "--retry-errors), or another output.",
    )


def _second() -> InvalidRequest:
    return InvalidRequest("custom_id: an earlier line has it", "Give each line an id of its own.")
