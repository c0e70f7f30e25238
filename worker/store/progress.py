"""How far a job is, by its record: `note_step` notes it there between two steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState

#: What a record notes of a job's steps: how many are done, how many there are, as far as its work
#: knows, and in a word what it does.
NOTED = ("done", "total", "phase")
NOTHING: Mapping[str, str | None] = {}
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_PHASE = re.compile(r"[a-z]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps; `phase` says in a word what the job does, or how it ended.

    `total` grows where a step turns out to need another one.
    """

    done: int
    total: int
    phase: str

    def __str__(self) -> str:
        """In words for people; the steps only where there are several."""
        return self.phase if self.total == 1 else f"{self.phase}, {self.done} of {self.total} steps"

    @classmethod
    def of(cls, state: JobState, noted: Mapping[str, str | None]) -> Self:
        """The progress of a job in a state, by what its record notes.

        A job of which nothing is noted is one step. One that waits again keeps the steps that it
        has done.
        """
        done, total, phase = noted_steps(noted) or (0, 1, str(state))
        if state is JobState.SUCCEEDED:
            return cls(total, total, str(state))
        return cls(done, total, phase if state is JobState.RUNNING else str(state))


class JobNow:
    """Where a job is, and how far. `has_steps`: its work has noted how many steps it takes."""

    def __init__(self, state: JobState, noted: Mapping[str, str | None] = NOTHING) -> None:
        self.state, self.progress = state, Progress.of(state, noted)
        self.has_steps = noted_steps(noted) is not None


def noted_steps(noted: Mapping[str, str | None]) -> tuple[int, int, str] | None:
    """Steps done, steps in all, and the phase; None where that is not noted.

    A worker of another version may note something else.
    """
    done, total, phase = (noted.get(name) or "" for name in NOTED)
    if not (_COUNT.fullmatch(done) and _COUNT.fullmatch(total) and _PHASE.fullmatch(phase)):
        return None
    return int(done), max(int(total), int(done), 1), phase


def job_now(keys: Keys, task_id: str) -> Calls[JobNow | None]:
    """Where a job is and how far; None when it has no record.

    One that waits for the answer of an identical job is as far as that one.
    """
    words = ("state", "fingerprint", *NOTED)
    found = dict(zip(words, (yield Command(("HMGET", keys.job(task_id), *words))), strict=True))
    if found["state"] is None:
        return None
    return JobNow(JobState(found["state"]), (yield from noted_of(keys, found)))


def noted_of(keys: Keys, record: Mapping[str, str | None]) -> Calls[Mapping[str, str | None]]:
    """The record, as Redis holds it, that notes how far a job is: its own, or that of the job whose
    answer it waits for."""
    if record.get("state") != JobState.JOINED or not record.get("fingerprint"):
        return record
    leader = yield Command(("HGET", f"{keys.group}{record['fingerprint']}", "leader"))
    if leader is None:
        return record
    return dict(zip(NOTED, (yield Command(("HMGET", keys.job(leader), *NOTED))), strict=True))
