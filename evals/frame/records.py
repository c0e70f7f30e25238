"""The raw records of a set, one JSON line for each item and side; a run goes on from them.

A line is on disk before the next item is asked. What a kill left of a last line is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evals.frame.eval_set import OURS, EvalSet, Item, Outcome, Score, Spent

#: How each line begins: what a kill left of one can be told from what somebody else wrote.
_BEGINNING = b'{"set": '


class RecordsUnusable(Exception):
    """The file is in use by another run, or is not one of records."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated. A record of another subject says nothing of this one.

    `engine` is the version that the model server tells; `num_ctx` is in tokens.
    """

    model: str
    digest: str
    engine: str
    num_ctx: int


@dataclass(frozen=True, slots=True)
class Record:
    """One side's outcome of one item."""

    subject: Subject
    set_name: str
    version: str
    key: str
    group: str
    side: str
    outcome: Outcome

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is of, within one subject and version."""
        return self.key, self.group, self.side


def version_of(one: EvalSet, side: str) -> str:
    """The version of a side's questions and answers: of the set, and of our kinds' templates."""
    if side != OURS:
        return str(one.version)
    from local_llm_service.producers.job_core import task_of  # settles which Redis is used

    kinds = (f"{kind} {task_of(kind).kind.template_version}" for kind in one.kinds)
    return ", ".join([str(one.version), *kinds])


class Records:
    """The file of one set, open for one run: `with Records(file, subject, set) as records`.

    `[place]` is the newest record of this subject and of the current version. Raises
    RecordsUnusable when it is entered.
    """

    def __init__(self, file: Path, subject: Subject, one: EvalSet) -> None:
        self._path, self._subject, self._set = file, subject, one
        self._found: dict[tuple[str, str, str], Record] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            self._take_over()
        except BaseException:
            self._file.close()
            raise
        return self

    def _take_over(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecordsUnusable(f"another run writes {self._path}") from None
        self._file.seek(0)
        self._file.truncate(self._read(self._file.read()))

    def look(self) -> list[Record]:
        """What is known, also while a run writes; changes nothing. Raises RecordsUnusable."""
        if self._path.exists():
            self._read(self._path.read_bytes())
        return self.all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, place: tuple[str, str, str]) -> bool:
        return place in self._found

    def all(self) -> list[Record]:
        """What is known of this subject in the current version."""
        return list(self._found.values())

    def forget(self) -> None:
        """Let everything be asked again; the newest record of a place is the one that counts."""
        self._found.clear()

    def add(self, item: Item, side: str, outcome: Outcome) -> None:
        """Keep an outcome, on disk when this returns."""
        version = version_of(self._set, side)
        record = Record(self._subject, self._set.name, version, item.key, item.group, side, outcome)
        line = json.dumps(_plain(record), ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._found[record.place] = record

    def _read(self, whole: bytes) -> int:
        """Take in what counts; return where the last whole line ends, in bytes."""
        end = whole.rfind(b"\n") + 1
        torn = whole[end:]
        if not _BEGINNING.startswith(torn[: len(_BEGINNING)]):
            raise RecordsUnusable(f"{self._path}: the last line is no record")
        current = {side: version_of(self._set, side) for side in self._set.sides}
        for number, line in enumerate(whole[:end].splitlines(), 1):
            try:
                record = _record(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise RecordsUnusable(f"{self._path}: line {number} is no record") from None
            if record.subject == self._subject and record.version == current.get(record.side):
                self._found[record.place] = record
        return end


def _plain(record: Record) -> dict[str, Any]:
    outcome = record.outcome
    return {
        "set": record.set_name,
        "key": record.key,
        "group": record.group,
        "side": record.side,
        "scores": {name: [one.points, one.of] for name, one in outcome.scores.items()},
        "failure": outcome.failure,
        "prompt_tokens": outcome.spent.prompt_tokens,
        "completion_tokens": outcome.spent.completion_tokens,
        "seconds": round(outcome.spent.seconds, 3),
        **asdict(record.subject),
        "version": record.version,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "text": outcome.text,
    }


def _record(plain: Mapping[str, Any]) -> Record:
    scores: Mapping[str, Iterable[float]] = plain["scores"]
    return Record(
        Subject(plain["model"], plain["digest"], plain["engine"], plain["num_ctx"]),
        plain["set"],
        plain["version"],
        plain["key"],
        plain["group"],
        plain["side"],
        Outcome(
            {name: Score(*one) for name, one in scores.items()},
            Spent(plain["prompt_tokens"], plain["completion_tokens"], plain["seconds"]),
            plain["text"],
            plain["failure"],
        ),
    )
