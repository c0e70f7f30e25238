"""The steps of jobs that have several: a job that runs again pays for the step that was cut off.

A step has a name. Where jobs may share it, that is the fingerprint of all that can change its
completion; else it is of one job alone, and goes with its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from local_llm_service.worker.store.bounds import STEP_SECONDS
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import CacheBounds


class Onward(StrEnum):
    """What note_step.lua says: go on, make room for a more urgent job, or end: the job was
    cancelled, or the lease is lost."""

    GO = "go"
    CANCELLED = "cancelled"
    YIELD = "yield"
    LOST = "lost"


#: What a job's kind has said while it has said nothing.
NOT_SAID = Progress(0, 0, "")


@dataclass(frozen=True, slots=True)
class StepNote:
    """What a worker says of its job between two steps.

    `progress` is how far the job is, where its kind has said so. `name` and `entry` are those of
    the step that is done, empty where nothing is to be kept; `own`: it is of this job alone. `kept`
    is how many are done, and `next_name` what is to be looked up. `rates` are kept for whoever goes
    on with the work of `place`, a group's fingerprint or a job alone. `savings` says what the run
    has done so far, see `Work.savings_text`. The job makes room for what waits in `queues` for this
    `worker` with these `models`.
    """

    task_id: str
    token: str
    progress: Progress = NOT_SAID
    name: str = ""
    entry: str = field(default="", repr=False)
    own: bool = False
    kept: int = 0
    next_name: str = ""
    place: str = ""
    rates: str = ""
    savings: str = "{}"
    worker: str = ""
    models: Sequence[str] = ()
    queues: Sequence[str] = ()


def own_name(task_id: str, fingerprint: str, time: int) -> str:
    """The name of a step of one job alone, which has asked the same so many times."""
    return f"{task_id}.{fingerprint}.{time}"


class StepStore:
    """The kept steps. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts, bounds: CacheBounds) -> None:
        """Of `bounds` those of bytes count."""
        self._scripts, self._bounds = scripts, bounds

    def note_step(self, note: StepNote) -> tuple[Onward, str]:
        """Keep what is done, and ask how to go on; with GO, what is kept of the next step or "".

        A call that is repeated, as its reply was lost, keeps nothing twice.
        """
        progress, bounds = note.progress, self._bounds
        args: list[str | int] = [note.task_id, note.token, progress.done, progress.total]
        args += [progress.phase, note.name, note.entry, int(note.own), note.kept]
        args += [STEP_SECONDS, bounds.entry_bytes, bounds.total_bytes]
        args += [note.next_name, note.place, note.rates, note.worker, note.savings]
        args += [len(note.models), *note.models, *note.queues]
        onward, entry = self._scripts.run("note_step", args)
        return Onward(onward), str(entry)

    def fixed_rates(self, place: str) -> str:
        """The rates that a run for `place` was the first to note; empty where there are none."""
        keys = self._scripts.keys
        return cast(str | None, self._scripts.client.get(f"{keys.fixed_rates}{place}")) or ""
