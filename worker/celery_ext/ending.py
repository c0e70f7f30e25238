"""How a job ends, as settle.lua takes it: its result, and the same for all who wait for it.

An answer has a part that is the same for all (`shared`: text, model, usage, ...) and one that is
each caller's own (`task_id`, `origin`, `timings`). The shared part is written once; the script puts
the others around it, without reading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from local_llm_service.worker.celery_ext.answers import NOBODYS, OWN, Work, dumps, opened
from local_llm_service.worker.store.jobs import JobState


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
    frame = opened({key: value for key, value in meta.items() if key != "result"})
    others = opened(NOBODYS | {"status": meta["status"], "date_done": meta["date_done"]})
    if not _is_answer(answer):
        return Result(
            before=f'{frame}, "result": ',
            shared=dumps(answer),
            after="}",
            others=Template("ia", (f'{others}, "task_id": ', ', "result": ', "}")),
        )
    own = {key: answer[key] for key in OWN}
    timings = {k: v for k, v in answer["timings"].items() if k != "queued_seconds"}
    return Result(
        before=f'{frame}, "result": {opened(own)}, ',
        shared=shared_part(answer),
        after="}}",
        others=Template(
            "iiqa",
            (
                f'{others}, "task_id": ',
                ', "result": {"origin": "joined", "task_id": ',
                ', "timings": {"queued_seconds": ',
                f", {dumps(timings)[1:]}, ",
                "}}",
            ),
        ),
    )


def shared_part(answer: Mapping[str, Any]) -> str:
    """The members of an answer that are the same for all, as JSON without the braces."""
    return dumps({key: value for key, value in answer.items() if key not in OWN})[1:-1]


def _is_answer(value: object) -> bool:
    return isinstance(value, dict) and all(key in value for key in OWN) and len(value) > len(OWN)
