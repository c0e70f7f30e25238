"""Single-flight groups: of jobs with one fingerprint at one time, one runs and answers all.

    claim ──► lead      run it; settle fans its answer out to all waiters
         ├──► joined    another runs: the message is set aside as a follower, the slot is free
         ├──► cached    the answer is there
         └──► handoff   a job in a chain or chord gets the answer of the group that it had followed

Who leads is decided when a job starts, so an urgent job never waits for one that has not started.
When a leader goes without a result (killed, drained, tried again), the group disbands: its
followers go back to their queues, and the next that starts leads.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from local_llm_service.worker.store.outcomes import Claim, SharedAnswer, SharedFailure, Work
from local_llm_service.worker.store.scripts import Scripts


class Claimed(NamedTuple):
    """What to do, and with CACHED and HANDOFF the outcome.

    With LEAD, whether somebody who waits for the answer wants to read its text while it is written,
    and the tries of the group so far.
    """

    claim: Claim
    outcome: SharedAnswer | SharedFailure | None = None
    text_wanted: bool = False
    attempts: int = 0


class SingleFlight:
    """The moves of groups. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts, result_seconds: int) -> None:
        self._scripts, self._kept = scripts, result_seconds

    def claim(
        self, task_id: str, token: str, fingerprint: str, *, canvas: bool, stream: bool = False
    ) -> Claimed:
        """Ask to start a job that this worker holds under `token`.

        `fingerprint` is made with the revision of this worker's model; `canvas`: others wait for
        the job in a chain or chord; `stream`: its text is to be read while it is written.
        """
        args = [task_id, token, fingerprint, int(canvas), self._kept, int(stream)]
        reply = self._scripts.run("claim", args)
        claim = Claim(reply[0])
        if claim is Claim.LEAD:
            return Claimed(claim, text_wanted=bool(reply[1]), attempts=reply[2])
        if claim is Claim.CACHED:
            work, text = _read(reply[1], "cached")
            return Claimed(claim, SharedAnswer(json.loads(f"{{{text}}}"), work))
        if claim is Claim.HANDOFF:
            work, text = _read(reply[1][1:], "joined")
            if reply[1][0] == "f":
                return Claimed(claim, SharedFailure(json.loads(text), work))
            return Claimed(claim, SharedAnswer(json.loads(f"{{{text}}}"), work))
        return Claimed(claim)

    def wanted_seconds(self, task_id: str) -> float:
        """Return the seconds to the latest deadline of those who wait for what this job generates.

        0 when nobody waits.
        """
        return max(0.0, int(self._scripts.run("wanted_seconds", [task_id])) / 1000)

    def detach(self, task_id: str, token: str) -> None:
        """Let a held job run for itself: nobody waits for it, and it waits for nobody."""
        self._scripts.run("detach", [task_id, token])


#: What outcome_entry of lua/shared/ending.lua writes: tokens, what it took, the text. A version
#: before the savings ledger writes two numbers and the text, which begins with a quote or a brace.
_ENTRY = re.compile(r"(\d+) (\d+) (?:(\d+) (\d+) (\S*) (\S*) )?(.*)", re.DOTALL | re.ASCII)


def _read(entry: str, origin: str) -> tuple[Work, str]:
    """What an outcome took, and its text."""
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError("an outcome that no version writes")
    prompt, completion, paid_prompt, paid_completion, model, route, text = found.groups("")
    work = Work(
        origin,
        int(prompt),
        int(completion),
        model=model,
        route=route,
        answer_prompt_tokens=int(paid_prompt or 0),
        answer_completion_tokens=int(paid_completion or 0),
    )
    return work, text
