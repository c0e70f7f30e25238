"""The values that take, claim and settle work with, for workers.

They are not in states.py because a producer needs none of them, and each would cost its import half
a millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from local_llm_service.worker.store import savings
from local_llm_service.worker.store.states import JobState


class Claim(StrEnum):
    """What claim.lua decides for a job that a worker is about to start.

    LEAD: run it. JOINED: another job runs, and this one is its follower now. CACHED: the answer is
    there. HANDOFF: the outcome of the group that this canvas job had followed is there. SETTLED,
    CANCELLED, LOST: there is nothing to run.
    """

    LEAD = "lead"
    JOINED = "joined"
    CACHED = "cached"
    HANDOFF = "handoff"
    SETTLED = "settled"
    CANCELLED = "cancelled"
    LOST = "lost"


class Settled(StrEnum):
    """What settle.lua did: stored the result, found one there, or refused a fencing token."""

    STORED = "stored"
    ALREADY = "already"
    LOST = "lost"


def settled(reply: int) -> Settled:
    """Read the first member of settle.lua's reply."""
    return {1: Settled.STORED, 0: Settled.ALREADY, -1: Settled.LOST}[reply]


class SettleFor(StrEnum):
    """Whose job ends: the caller's own (cancelled, too late), that of everybody who waits for the
    same work, or only that of the waiters."""

    CALLER = "caller"
    EVERYONE = "everyone"
    WAITERS = "waiters"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that this worker holds under a fencing token.

    `queue` is its public name; `queued_seconds` is the time since its submit, None for a job sent
    by name; `remaining_seconds` is negative when the deadline has passed.
    """

    queue: str
    message: str
    task_id: str
    tag: str
    token: str
    queued_seconds: float | None
    remaining_seconds: float
    attempts: int
    crashes: int
    cancelled: bool
    engine_deaths: int = 0
    #: What a worker has to serve, a model or keys.DEFAULT_MODEL; empty where nobody knows.
    model: str = ""
    #: No worker could run it for MODEL_WAIT_SECONDS, or by its deadline.
    given_up: bool = False
    #: Steps of an earlier run, its own or its leader's, that may be kept.
    kept_steps: int = 0

    @classmethod
    def of(cls, found: Sequence[Any]) -> Self:
        """Read what take.lua returns."""
        queue, message, task_id, tag, token, queued_ms, remaining_ms, *counts = found
        attempts, crashes, cancelled, engine_deaths, model, given_up, kept_steps = counts
        return cls(
            queue=queue,
            message=message,
            task_id=task_id,
            tag=tag,
            token=token,
            queued_seconds=None if queued_ms < 0 else queued_ms / 1000,
            remaining_seconds=remaining_ms / 1000,
            attempts=attempts,
            crashes=crashes,
            cancelled=bool(cancelled),
            engine_deaths=engine_deaths,
            model=model,
            given_up=bool(given_up),
            kept_steps=kept_steps,
        )

    @property
    def is_suspect(self) -> bool:
        """Whether a worker or an engine died while the job ran: nothing may run beside it."""
        return self.crashes > 0 or self.engine_deaths > 0


@dataclass(frozen=True, slots=True)
class PassedOn:
    """What pass_on.lua did: parked the job, or (it is lost) nothing; else who failed it.

    `failed_by` names the workers whose engines failed the job, when no other live one can run it.
    """

    done: bool
    failed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What was done for a result: its source, tokens, and whether others may have it later.

    Tokens are those of the answer, also where another job generated it. `last_text` is what the
    model wrote last where that was the fault: it is for the dead letter alone.

    For the savings ledger: `model` is the full name of the one that answered or was asked last,
    `route` the name of the route that chose it ("" where the caller did). `answer_…` are the tokens
    that one call of a paid model would have had for the answer that was delivered; `wasted_…` those
    of tries that led to no answer. `tenant` is None where only the record knows it; `run_tokens`
    are what the engines did for this in one run.
    """

    origin: str = "computed"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    generation_seconds: float = 0.0
    cacheable: bool = False
    last_text: str = field(default="", repr=False)
    model: str = ""
    route: str = ""
    answer_prompt_tokens: int = 0
    answer_completion_tokens: int = 0
    wasted_prompt_tokens: int = 0
    wasted_completion_tokens: int = 0
    tenant: str | None = None
    run_tokens: savings.RunTokens | None = field(default=None, repr=False, compare=False)

    @property
    def counter(self) -> str:
        """The counter in the statistics."""
        return _COUNTERS[self.origin]

    @property
    def believed_tokens(self) -> tuple[int, int]:
        """Tokens of the prompts and of the completions, as far as a script can add them up."""
        return savings.believed(self.prompt_tokens), savings.believed(self.completion_tokens)

    @property
    def savings_text(self) -> str:
        """What scripts enter in the savings ledger for the end of a job or of a run, JSON.

        `model`, `route` and `tenant` make the row; without a tenant it is the one in the job's
        record. `prompt` and `completion` are the tokens that one call of a paid model would have
        had for the answer; `made` is RunTokens.split. What is empty is left out. A model that did
        nothing for the job is not named: callers make names up.
        """
        tokens = self.run_tokens
        did_something = self.origin != "computed" or self.prompt_tokens or self.completion_tokens
        found: dict[str, object] = {}
        if did_something or (tokens is not None and self.model in tokens):
            found["model"] = savings.word(self.model)
        if self.route:
            found["route"] = savings.word(self.route)
        if self.tenant is not None:
            found["tenant"] = savings.word(self.tenant)
        found["prompt"] = savings.believed(self.answer_prompt_tokens)
        found["completion"] = savings.believed(self.answer_completion_tokens)
        if tokens is not None:
            wasted = self.wasted_prompt_tokens, self.wasted_completion_tokens
            found["made"] = dict(tokens.split(self.model, wasted))
        return json.dumps(found, separators=(",", ":"))


#: Nothing was done.
NO_WORK = Work()

_COUNTERS = {"computed": "misses", "cached": "hits", "joined": "joined"}


@dataclass(frozen=True, slots=True)
class ResultTemplate:
    """A result with holes: after each piece but the last, one character of `holes` (settle.lua)."""

    holes: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResultText:
    """A job's result in three parts; all who wait for the same share the middle one."""

    before: str
    shared: str
    after: str
    for_waiters: ResultTemplate


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends. `error` is a code of `errors`, empty for an answer; with `keep_letter` the
    message becomes a dead letter. `followed`: Celery calls something after the job, and its message
    says what; None where only the record knows."""

    state: JobState
    error: str
    settle_for: SettleFor
    keep_letter: bool
    result: ResultText
    work: Work
    followed: bool | None = None


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """The members of an answer that are the same for everyone who asked, and what it took."""

    members: dict[str, Any]
    work: Work


@dataclass(frozen=True, slots=True)
class SharedFailure:
    """The error of a job that ran for everyone who asked, as Celery stores it."""

    error: dict[str, Any]
    work: Work


#: A fencing token for "nobody holds the job": settle only then.
UNHELD = ""
