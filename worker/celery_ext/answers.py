"""What an answer is made of: a part that is the same for all who get it, and each caller's own.

`.delay()` of a repeated question and the worker use it; how a job ends is in ending.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import loads
from json.encoder import encode_basestring_ascii
from typing import Any

from kombu.utils import json

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
NOBODYS: dict[str, Any] = {"traceback": None, "children": []}
_COUNTED = {"computed": "misses", "cached": "hits", "joined": "joined"}


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


def dumps(value: object) -> str:
    """As Celery encodes results."""
    return str(json.dumps(value))  # type: ignore[no-untyped-call]


def opened(members: Mapping[str, Any]) -> str:
    """A JSON object that more members can follow."""
    return dumps(members)[:-1]


_CACHED = opened(NOBODYS | {"status": "SUCCESS"}) + ", "
_OWN_OF_CACHED = opened({"origin": "cached", "timings": NO_TIMINGS})[1:]
