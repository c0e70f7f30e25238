"""Flights: of jobs with one fingerprint that are there at once, one runs and answers all.

    claim ──► lead     run it; settle gives the answer to all who are noted
         ├──► joined   another runs: the message waits in the flight, the slot is free
         ├──► cached   the answer is there
         └──► handed   a job in a chain or chord gets the answer of the flight that it had joined

Who leads is decided when a job starts, so an urgent job never waits for one that has not started.
When a leader goes without a result (killed, drained, tried again), all who joined go back to their
queues, and the next that starts leads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from local_llm_service.worker.store.scripts import Scripts


class Claim(StrEnum):
    """What claim.lua decides."""

    LEAD = "lead"
    JOINED = "joined"
    CACHED = "cached"
    HANDED = "handed"
    SETTLED = "settled"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Shared:
    """An answer of somebody else: its shared members, or an error as Celery stores it."""

    members: dict[str, Any]
    failed: bool
    prompt_tokens: int
    completion_tokens: int


class Flights:
    """The moves of flights. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts, result_seconds: int) -> None:
        self._scripts, self._kept = scripts, result_seconds

    def claim(
        self, task_id: str, token: str, fingerprint: str, *, canvas: bool
    ) -> tuple[Claim, Shared | None]:
        """Ask to start a job that this worker holds under `token`.

        `canvas`: others wait for it in a chain or chord.
        """
        reply = self._scripts.run("claim", [task_id, token, fingerprint, int(canvas), self._kept])
        claim = Claim(reply[0])
        if claim is Claim.CACHED:
            return claim, read_entry(reply[1])
        if claim is Claim.HANDED:
            return claim, read_entry(reply[1][1:], failed=reply[1][0] == "f")
        return claim, None

    def waiting_seconds(self, task_id: str) -> float:
        """Until the latest deadline of those who wait for what this job generates; 0 for nobody."""
        return max(0.0, int(self._scripts.run("waiting", [task_id])) / 1000)

    def leave(self, task_id: str) -> None:
        """A job runs for itself; nobody who asked the same waits for it."""
        self._scripts.run("alone", [task_id])

    def unjoin(self, task_id: str) -> bool:
        """Put a joined job back into its queue; False when it has not joined."""
        return bool(self._scripts.run("unjoin", [task_id]))


def read_entry(entry: str, *, failed: bool = False) -> Shared:
    """Parse `<prompt tokens> <completion tokens> <JSON>` as the scripts keep it."""
    prompt, completion, text = entry.split(" ", 2)
    members = json.loads(text if failed else f"{{{text}}}")
    return Shared(members, failed, int(prompt), int(completion))
