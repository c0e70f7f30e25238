"""Results as Celery stores them, in the parts that settle.lua and submit.lua put together.

One part of an answer is the same for everybody who gets it (`text`, `model`, `usage`, ...), and one
part is each caller's own (`task_id`, `origin`, `timings`). The shared part is written once; scripts
put the callers' parts around it without reading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import loads
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from local_llm_service.worker.celery_ext import plain_json

if TYPE_CHECKING:
    from local_llm_service.worker.store.outcomes import ResultText

#: The members of an answer that are each caller's own.
CALLERS_MEMBERS = ("task_id", "origin", "timings")
#: And what only the job that paid says, so that no sum over answers counts it twice.
_OWN_MEMBERS = (*CALLERS_MEMBERS, "paid_usd")

#: Timings of an answer that was not generated for this job.
NO_TIMINGS = {
    "queued_seconds": 0.0,
    "load_seconds": 0.0,
    "prompt_seconds": 0.0,
    "generation_seconds": 0.0,
}

#: Members of Celery's result meta that only a task that runs in this process can fill.
_NOT_RUN: dict[str, Any] = {"traceback": None, "children": []}


def result_text(meta: Mapping[str, Any]) -> ResultText:
    """Split Celery's result meta (with `status`, `result`, `task_id`) into its parts."""
    # Imported here: a producer needs none of these.
    from local_llm_service.worker.store.outcomes import ResultTemplate, ResultText

    answer = meta["result"]
    frame = _opened({key: value for key, value in meta.items() if key != "result"})
    for_waiters = _opened(_NOT_RUN | {"status": meta["status"], "date_done": meta["date_done"]})
    if not _is_answer(answer):
        return ResultText(
            before=f'{frame}, "result": ',
            shared=_dumps(answer),
            after="}",
            for_waiters=ResultTemplate("ia", (f'{for_waiters}, "task_id": ', ', "result": ', "}")),
        )
    own = {key: answer[key] for key in _OWN_MEMBERS if key in answer}
    timings = {k: v for k, v in answer["timings"].items() if k != "queued_seconds"}
    return ResultText(
        before=f'{frame}, "result": {_opened(own)}, ',
        shared=_dumps({k: v for k, v in answer.items() if k not in _OWN_MEMBERS})[1:-1],
        after="}}",
        for_waiters=ResultTemplate(
            "iiqa",
            (
                f'{for_waiters}, "task_id": ',
                ', "result": {"origin": "joined", "task_id": ',
                ', "timings": {"queued_seconds": ',
                f", {_dumps(timings)[1:]}, ",
                "}}",
            ),
        ),
    )


def cached_result(task_id: str, date_done: str) -> tuple[str, str]:
    """The text before and after the shared part in the result of a cache hit.

    `date_done` is in ISO 8601. The text is put together by hand, because this is most of the time
    that `.delay()` of a repeated question takes.
    """
    own_id = encode_basestring_ascii(task_id)
    return (
        f'{_CACHED}"date_done": "{date_done}", "task_id": {own_id}, '
        f'"result": {{"task_id": {own_id}, {_CACHED_MEMBERS}, ',
        "}}",
    )


def cached_meta(task_id: str, date_done: str, shared: str) -> dict[str, Any]:
    """The same result as Celery holds it once it is read."""
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
    """JSON as the result backend encodes results."""
    return plain_json.dumps(value)


def _opened(members: Mapping[str, Any]) -> str:
    """A JSON object without its closing brace, so that more members can follow."""
    return _dumps(members)[:-1]


def _is_answer(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(key in value for key in CALLERS_MEMBERS)
        and len(value) > len(CALLERS_MEMBERS)
    )


_CACHED = _opened(_NOT_RUN | {"status": "SUCCESS"}) + ", "
_CACHED_MEMBERS = _opened({"origin": "cached", "timings": NO_TIMINGS})[1:]
