"""The typed client reads what a newer worker says."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service.producers.job_core import _typed
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.worker.errors import InternalError

TIMES = {"queued_seconds": 0.0, "load_seconds": 0.0, "prompt_seconds": 0.0}
ANSWER: dict[str, Any] = {
    **{"task_id": "1", "kind": "generate", "model": "m", "origin": "computed", "text": "secret"},
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    "timings": {**TIMES, "generation_seconds": 0.0},
    "route": {"chosen": "m", "reason": "r", "tried": [{"model": "n", "reason": "s"}]},
}


@pytest.mark.parametrize("answer", [GenerateAnswer, None])
def test_what_a_newer_worker_says_beside_is_left_out(answer: type[Answer] | None) -> None:
    """At any depth; workers may be updated before their backends."""
    newer = {**ANSWER, "colour": 1, "usage": {**ANSWER["usage"], "thoughts": 3}}
    newer["route"] = {**ANSWER["route"], "tried": [{"model": "n", "reason": "s", "why": "t"}]}
    read = _typed(answer, newer)
    assert read.plain() == ANSWER
    assert newer["route"]["tried"][0]["why"] == "t", "the caller's own is left as it is"


def test_what_an_older_worker_does_not_say_is_an_error() -> None:
    """It names the fields and shows no text."""
    without = {name: one for name, one in ANSWER.items() if name != "usage"} | {"colour": 1}
    with pytest.raises(InternalError, match="the answer cannot be read: colour, usage") as caught:
        _typed(GenerateAnswer, without)
    assert "secret" not in repr(caught.value)
    assert caught.value.__context__ is None
