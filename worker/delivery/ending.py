"""How a job ends, as settle.lua takes it: its result, and the same for all who wait for it.

An answer has a part that is the same for all (`shared`: text, model, usage, ...) and one that is
each caller's own (`task_id`, `origin`, `timings`). The shared part is written once; the script puts
the others around it, without reading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from json import loads
from json.encoder import encode_basestring_ascii
from typing import Any

from kombu.utils import json

from worker.delivery.jobs import JobState

#: The members of an answer that are each caller's own.
OWN = ("task_id", "origin", "timings")

#: Timings of an answer that cost nothing now.
NO_TIMINGS = {
    "queued_seconds": 0.0,
    "load_seconds": 0.0,
    "prompt_seconds": 0.0,
    "generation_seconds": 0.0,
}

#: Members of Celery's result meta that only a task which runs here can have.
_NOBODYS: dict[str, Any] = {"traceback": None, "children": []}
_COUNTED = {"computed": "misses", "cached": "hits", "joined": "joined"}


@dataclass(frozen=True, slots=True)
class Template:
    """A result with holes: after each piece but the last one character of `holes` (settle.lua)."""

    holes: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A result in three parts, the middle one shared, and the same for others."""

    before: str
    shared: str
    after: str
    others: Template


@dataclass(frozen=True, slots=True)
class Work:
    """What was done for a result: its source, tokens, and whether others may have it later.

    Tokens are those of the answer, also where somebody else generated them.
    """

    origin: str = "computed"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    generation_seconds: float = 0.0
    cacheable: bool = False

    @property
    def counted(self) -> str:
        """The counter in the statistics."""
        return _COUNTED[self.origin]


class Ends(StrEnum):
    """The caller alone (cancelled, too late), the work and so all who wait, or all but him."""

    OWN = "own"
    WORK = "work"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Ending:
    """`dead`: keep the message.

    `error` is a code of `worker.errors`, empty for an answer.
    """

    state: JobState
    error: str
    ends: Ends
    dead: bool
    result: Result
    work: Work


def result_of(meta: Mapping[str, Any]) -> Result:
    """Split Celery's result meta (with `status`, `result`, `task_id`)."""
    answer = meta["result"]
    frame = _open({key: value for key, value in meta.items() if key != "result"})
    others = _open(_NOBODYS | {"status": meta["status"], "date_done": meta["date_done"]})
    if not _is_answer(answer):
        return Result(
            before=f'{frame}, "result": ',
            shared=_dumps(answer),
            after="}",
            others=Template("ia", (f'{others}, "task_id": ', ', "result": ', "}")),
        )
    own = {key: answer[key] for key in OWN}
    timings = {k: v for k, v in answer["timings"].items() if k != "queued_seconds"}
    return Result(
        before=f'{frame}, "result": {_open(own)}, ',
        shared=shared_part(answer),
        after="}}",
        others=Template(
            "iiqa",
            (
                f'{others}, "task_id": ',
                ', "result": {"origin": "joined", "task_id": ',
                ', "timings": {"queued_seconds": ',
                f", {_dumps(timings)[1:]}, ",
                "}}",
            ),
        ),
    )


def shared_part(answer: Mapping[str, Any]) -> str:
    """The members of an answer that are the same for all, as JSON without the braces."""
    return _dumps({key: value for key, value in answer.items() if key not in OWN})[1:-1]


def cached_result(task_id: str, date_done: str) -> tuple[str, str]:
    """What stands before and after the shared part in the result of a job found in the cache.

    `date_done` in ISO 8601. Written by hand: `.delay()` of a repeated question is mostly this.
    """
    own_id = encode_basestring_ascii(task_id)
    return (
        f'{_CACHED}"date_done": "{date_done}", "task_id": {own_id}, '
        f'"result": {{"task_id": {own_id}, {_OWN_OF_CACHED}, ',
        "}}",
    )


def cached_meta(task_id: str, date_done: str, shared: str) -> dict[str, Any]:
    """The same as Celery holds it once it is read."""
    answer = {
        "task_id": task_id,
        "origin": "cached",
        "timings": dict(NO_TIMINGS),
        **loads(f"{{{shared}}}"),
    }
    return {
        "traceback": None,
        "children": [],
        "status": "SUCCESS",
        "date_done": date_done,
        "task_id": task_id,
        "result": answer,
    }


def _dumps(value: object) -> str:
    """As Celery encodes results."""
    return str(json.dumps(value))  # type: ignore[no-untyped-call]


def _open(members: Mapping[str, Any]) -> str:
    """A JSON object that more members can follow."""
    return _dumps(members)[:-1]


def _is_answer(value: object) -> bool:
    return isinstance(value, dict) and all(key in value for key in OWN) and len(value) > len(OWN)


_CACHED = _open(_NOBODYS | {"status": "SUCCESS"}) + ", "
_OWN_OF_CACHED = _open({"origin": "cached", "timings": NO_TIMINGS})[1:]
