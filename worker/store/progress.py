"""How far a job is, by its record: `note_step` notes it there between two steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState

#: As `note_step` writes it: steps done, steps in all, and in a word what the job does.
_NOTED = re.compile(r"([0-9]{1,9}) ([0-9]{1,9}) ([a-z]{1,20})", re.ASCII)
_FIELDS = ("state", "progress", "fingerprint")


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
    def of(cls, state: JobState, noted: str | None) -> Self:
        """The progress of a job in a state. `noted` is what its record says of its steps.

        A job of which nothing can be read there is one step. One that waits again keeps the steps
        that it has done.
        """
        done, total, phase = read_steps(noted) or (0, 1, str(state))
        if state is JobState.SUCCEEDED:
            return cls(total, total, str(state))
        return cls(done, total, phase if state is JobState.RUNNING else str(state))


class JobNow:
    """Where a job is, and how far. `has_steps`: its work has noted how many steps it takes."""

    def __init__(self, state: JobState, noted: str | None = None) -> None:
        self.state, self.progress = state, Progress.of(state, noted)
        self.has_steps = read_steps(noted) is not None


def read_steps(noted: str | None) -> tuple[int, int, str] | None:
    """Steps done, steps in all, and the phase; None for what does not say that.

    A worker of another version may write another text.
    """
    found = _NOTED.fullmatch(noted or "")
    if found is None:
        return None
    done, total = int(found[1]), int(found[2])
    return (done, total, found[3]) if total and done <= total else None


def job_now(keys: Keys, task_id: str) -> Calls[JobNow | None]:
    """Where a job is and how far; None when it has no record.

    One that waits for the answer of an identical job is as far as that one.
    """
    state, noted, fingerprint = yield Command(("HMGET", keys.job(task_id), *_FIELDS))
    if state is None:
        return None
    return JobNow(JobState(state), (yield from noted_steps(keys, state, noted, fingerprint)))


def noted_steps(
    keys: Keys, state: str, noted: str | None, fingerprint: str | None
) -> Calls[str | None]:
    """What says how far a job is: its own record, or that of the job whose answer it gets."""
    if state != JobState.JOINED or not fingerprint:
        return noted
    leader = yield Command(("HGET", f"{keys.group}{fingerprint}", "leader"))
    if leader is None:
        return noted
    found: str | None = yield Command(("HGET", keys.job(leader), "progress"))
    return found
