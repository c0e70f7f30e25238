"""What every answer says beside its own fields: who wrote it, what it cost, how long it took."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    # Built at first use: `from tasks import ...` stays light.
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Usage(_Part):
    """Token counts of the model server itself."""

    prompt_tokens: int
    completion_tokens: int


class Timings(_Part):
    """Where the time went, in seconds.

    `queued_seconds` is None for a message that was sent by name and so not stamped at submit.
    """

    queued_seconds: float | None
    load_seconds: float
    prompt_seconds: float
    generation_seconds: float


class Answer(_Part):
    """The part that is common to all kinds.

    `origin`: "computed" by this job, "cached", or "joined" to an identical job. `finish_reason`
    "length": the model was stopped at the caller's own budget of tokens.
    """

    task_id: str
    kind: str
    model: str
    origin: Literal["computed", "cached", "joined"]
    finish_reason: Literal["stop", "length"]
    usage: Usage
    timings: Timings
