"""What has become of each line of a batch, in SQLite beside the output.

A group of lines is one transaction, together with the size that the output then has. Whoever opens
the ledger has it alone until the process ends, however it ends.

    taken ──► answered | failed            failed ──► taken, a try later (--retry-errors)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any, Final, Self
from uuid import UUID, uuid4, uuid5

from local_llm_service.producers.batch.ledger_file import open_ledger
from local_llm_service.worker.errors import InvalidRequest


class LineState(IntEnum):
    """What the ledger says of a line. A line that it does not have was never read."""

    TAKEN = 0
    ANSWERED = 1
    FAILED = 2


class Aside(StrEnum):
    """Where an answer waits: HELD for earlier lines, OWED until its SQL statement has run."""

    HELD = "held"
    OWED = "owed"


#: Above every number of a line.
_ALL: Final = 2**62


@dataclass(frozen=True, slots=True)
class Entry:
    """One line in the ledger.

    `custom_id` is None for a line that is never a job: unreadable, or the second of its id.
    `nth`: of the equal lines without an id it is this one, from 1; 0 with an id.
    """

    number: int
    custom_id: str | None
    digest: bytes
    nth: int
    state: LineState
    tries: int = 1


class Ledger:
    """The lines of one batch. Nothing is kept until `commit`; see records.py for the order.

    `path` "" is a ledger that ends with the process and can hold as many lines. Raises
    InvalidRequest when another run has it, or it is none; every method raises sqlite3.Error for a
    disk that takes no more.
    """

    def __init__(self, path: str) -> None:
        self._database = open_ledger(path)
        self.is_new = self._said("ledger_id") is None
        if self.is_new:
            self._say("ledger_id", uuid4().hex)
        self._id = UUID(hex=str(self._said("ledger_id")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; what was not committed is gone."""
        self._database.close()

    def task_id(self, entry: Entry) -> str:
        """The id of a line's job, the same at every run: an answer is collected, not made again."""
        return str(uuid5(self._id, f"{entry.tries} {entry.custom_id}"))

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep what changes answers, or compare it. Raises InvalidRequest where it differs."""
        kept = self.about("plan")
        if kept is None or self.last_number() == 0:
            self._say("plan", json.dumps(plan))
        elif differing := sorted(
            name for name in {*kept, *plan} if kept.get(name) != plan.get(name)
        ):
            raise InvalidRequest(
                f"this output was begun by another command: {', '.join(differing)} differs",
                "Use the same command, or another output.",
            )

    def about(self, name: str) -> Any:
        """A value of the whole batch; None where there is none."""
        found = self._said(name)
        return None if found is None else json.loads(found)

    def keep(self, name: str, value: object) -> None:
        """Keep a value of the whole batch."""
        self._say(name, json.dumps(value))

    def by_number(self, number: int) -> Entry | None:
        """The line of this number."""
        return self._one("number = ?", number)

    def by_custom_id(self, custom_id: str) -> Entry | None:
        """The line of this id."""
        return self._one("custom_id = ?", custom_id)

    def equal_before(self, digest: bytes, number: int) -> int:
        """How many lines without an id before `number` have this content."""
        found = self._database.execute(
            "SELECT nth FROM lines WHERE digest = ? AND nth > 0 AND number < ?"
            " ORDER BY number DESC LIMIT 1",
            (digest, number),
        ).fetchone()
        return 0 if found is None else int(found[0])

    def last_number(self) -> int:
        """The highest number of a line; 0 without lines."""
        return int(self._value("SELECT max(number) FROM lines") or 0)

    def first_open(self) -> int:
        """The lowest number of a line that is neither answered nor failed, or of the next line."""
        found = self._value("SELECT min(number) FROM lines WHERE state = 0")
        return self.last_number() + 1 if found is None else int(found)

    def count(self, state: LineState) -> int:
        """How many lines are in this state."""
        return int(self._value("SELECT count(*) FROM lines WHERE state = ?", int(state)))

    def take(self, entry: Entry) -> None:
        """Note a line that was read, or one whose next try begins."""
        self._database.execute(
            "INSERT INTO lines (number, custom_id, digest, nth, state, tries)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE"
            " SET custom_id = excluded.custom_id, digest = excluded.digest, nth = excluded.nth,"
            " state = excluded.state, tries = excluded.tries",
            (entry.number, entry.custom_id, entry.digest, entry.nth, entry.state, entry.tries),
        )

    def retry(self, entry: Entry, digest: bytes | None = None) -> Entry:
        """Begin the next try of a line, which may have another content now."""
        again = replace(
            entry,
            digest=digest or entry.digest,
            state=LineState.TAKEN,
            tries=entry.tries + 1,
        )
        self.take(again)
        return again

    def answer(self, number: int) -> None:
        """The line has its answer."""
        self._database.execute(
            "UPDATE lines SET state = 1, error = NULL WHERE number = ?", (number,)
        )

    def fail(self, number: int, error_line: str) -> None:
        """The line has failed, and this is its line in the file of errors."""
        self._database.execute(
            "UPDATE lines SET state = 2, error = ? WHERE number = ?", (error_line, number)
        )

    def error_lines(self) -> Iterator[str]:
        """The lines of the file of errors, in the order of the input."""
        found = self._database.execute("SELECT error FROM lines WHERE state = 2 ORDER BY number")
        return (str(row[0]) for row in found)

    def set_aside(self, place: Aside, number: int, text: bytes) -> None:
        """Keep an answer until it can be written where it belongs."""
        self._database.execute(f"INSERT OR REPLACE INTO {place} VALUES (?, ?)", (number, text))

    def aside(
        self, place: Aside, most: int, *, before: int | None = None
    ) -> list[tuple[int, bytes]]:
        """The first `most` answers that were set aside, all of them of lines `before` a number."""
        found = self._database.execute(
            f"SELECT number, text FROM {place} WHERE number < ? ORDER BY number LIMIT ?",
            (_ALL if before is None else before, most),
        )
        return [(int(number), bytes(text)) for number, text in found]

    def drop_aside(self, place: Aside, number: int) -> None:
        """The answer is where it belongs."""
        self._database.execute(f"DELETE FROM {place} WHERE number = ?", (number,))

    def commit(self) -> None:
        """Keep everything since the last commit, at once and on the disk."""
        self._database.commit()

    def _one(self, condition: str, value: object) -> Entry | None:
        row = self._database.execute(
            f"SELECT number, custom_id, digest, nth, state, tries FROM lines WHERE {condition}",
            (value,),
        ).fetchone()
        if row is None:
            return None
        number, custom_id, digest, nth, state, tries = row
        return Entry(number, custom_id, digest, nth, LineState(state), tries)

    def _value(self, query: str, *values: object) -> Any:
        return self._database.execute(query, values).fetchone()[0]

    def _said(self, name: str) -> str | None:
        found = self._database.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def _say(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))
