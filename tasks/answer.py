"""The fields that all answers share: which model wrote it, what it cost, how long it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict

#: Fields that an answer is without where there is nothing to say.
NOT_SAID_BY_ALL = frozenset({"context", "keep_local", "paid_usd", "route"})


class _Part(BaseModel):
    # Built at first use: `from tasks import ...` stays light.
    model_config = ConfigDict(extra="forbid", defer_build=True)


class Usage(_Part):
    """Token counts, as the model server reports them."""

    prompt_tokens: int
    completion_tokens: int


class Tried(_Part):
    """A model that was asked before the one that answered, and why its answer was not taken."""

    model: str
    reason: str


class Route(_Part):
    """How a model was chosen: `chosen`, `reason` in words, and what was `tried` before it."""

    chosen: str
    reason: str
    tried: list[Tried] = []


class Timings(_Part):
    """The time that a job took, in seconds.

    `queued_seconds` is None for a message that was sent by name and so has no time of submit.
    """

    queued_seconds: float | None
    load_seconds: float
    prompt_seconds: float
    generation_seconds: float


class Answer(_Part):
    """The part that is common to all kinds.

    `origin`: "computed" by this job, "cached", or "joined" to an identical job. `finish_reason`
    "length": the model was stopped at the caller's own budget of tokens; "unchanged": the input
    fitted as it was. `route` is there where the service chose the model, `keep_local` where the
    call had to stay on one's own hardware: what is made of the answer then stays there, too.
    `paid_usd` is there where a model with a price wrote something for this job: what its
    completions have cost, also one that was not taken. Each kind names in CONTENT the field that
    holds its result, a text unless CONTENT_IS_JSON or `text_in` says more.
    """

    CONTENT: ClassVar[str]
    CONTENT_IS_JSON: ClassVar[bool] = False

    task_id: str
    kind: str
    model: str
    origin: Literal["computed", "cached", "joined"]
    finish_reason: Literal["stop", "length", "tool_calls", "unchanged"]
    usage: Usage
    timings: Timings
    route: Route | None = None
    keep_local: bool = False
    paid_usd: float = 0.0

    def plain(self) -> dict[str, Any]:
        """The answer as Celery's result has it: JSON, without what there is nothing to say of."""
        found = self.model_dump(mode="json")
        return {name: one for name, one in found.items() if one or name not in NOT_SAID_BY_ALL}

    @classmethod
    def is_content(cls, content: Any) -> bool:
        """Whether a value can be what the field CONTENT holds."""
        return cls.CONTENT_IS_JSON or isinstance(content, str)

    @classmethod
    def text_in(cls, content: Any, *, indent: int | None = None) -> str:
        """What CONTENT holds, as text; JSON with `indent` spaces, for people."""
        if cls.CONTENT_IS_JSON:
            return json.dumps(content, ensure_ascii=False, indent=indent)
        return str(content)


def is_answer(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a plain value, e.g. one that a chain passes on, is an answer of this service."""
    return (
        isinstance(value, dict)
        and {"task_id", "kind", "origin"} <= value.keys()
        and _class_of(value) is not None
    )


def keeps_local(value: object) -> bool:
    """Whether a plain value is an answer that is to stay on one's own hardware, or holds one."""
    if isinstance(value, list):
        return any(is_answer(one) and one.get("keep_local") is True for one in value)
    return is_answer(value) and value.get("keep_local") is True


def text_of(answer: Mapping[str, Any], *, indent: int | None = None) -> str:
    """The result that an answer holds, as text; a JSON value is written with `indent` spaces.

    Raises KeyError if `answer` is not an answer, and TypeError for a value that is not JSON.
    """
    kind = _class_of(answer)
    if kind is None:
        raise KeyError("not an answer: it has none of the fields that hold a kind's result")
    return kind.text_in(answer[kind.CONTENT], indent=indent)


def _class_of(answer: Mapping[str, Any]) -> type[Answer] | None:
    """The class of an answer, by its fields, not its kind: a newer worker may know more kinds."""
    for kind in Answer.__subclasses__():
        if kind.CONTENT in answer and kind.is_content(answer[kind.CONTENT]):
            return kind
    return None
