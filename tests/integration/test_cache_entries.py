"""Tests which calls share a cache entry, and which answers become an entry."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker import errors
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.doubles.ollama import FakeOllama, Script

KEYS = Keys()

SHARED_WORKER = {"MAX_ATTEMPTS": "1"}


@pytest.fixture(scope="module")
def shared_ollama() -> Iterator[FakeOllama]:
    """A scripted Ollama with a second model."""
    with FakeOllama(models=("fake:1b", "other:1b")) as server:
        yield server


def answer(prompt: str = "question", **options: Any) -> dict[str, Any]:
    """Ask and wait for the answer."""
    given: dict[str, Any] = tasks.generate.delay(prompt, **options).get(timeout=20)
    return given


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.1},
        {"max_tokens": 499},
        {"system_prompt": "be brief"},
        {"cache_scope": "tenant"},
        {"prompt": "question "},
        {"model": "other:1b"},
    ],
)
def test_a_call_that_differs_is_another_question(
    shared_worker: WorkerProcess, other: dict[str, Any]
) -> None:
    """Every option and every tenant makes a different question."""
    answer()
    assert answer(**other)["origin"] == "computed"
    assert answer(**other)["origin"] == "cached"


def test_defaults_and_the_models_own_name_are_the_same_question(
    shared_worker: WorkerProcess,
) -> None:
    """A default may be left out or written out, and a number may be 1 or 1.0."""
    answer(temperature=1)
    same = answer(temperature=1.0, max_tokens=500, model="fake:1b", priority="low")
    assert same["origin"] == "cached"


@pytest.mark.parametrize(
    ("call", "script"),
    [
        (
            lambda: tasks.summarize.delay("text " * 60, max_summary_tokens=5),
            Script(chunks=("One and ", "two"), done_reason="length"),
        ),
        (
            lambda: tasks.structured_output.delay("text", {"type": "object"}),
            Script(chunks=("no JSON",)),
        ),
        (lambda: tasks.generate.delay("text"), Script(status=500, error="broken")),
    ],
    ids=["a summary without a sentence", "invalid JSON", "an error"],
)
def test_only_whole_answers_are_cached(
    shared_worker: WorkerProcess,
    shared_ollama: FakeOllama,
    shared_redis: redis.Redis,
    call: Any,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any other answer is not stored, and the next caller gets a new try."""
    kept = set(shared_redis.scan_iter(f"{KEYS.cache}*"))
    shared_ollama.seen.clear()
    monkeypatch.setattr(shared_ollama, "respond", lambda _: script)
    for _ in range(2):
        with contextlib.suppress(errors.ServiceError):
            assert call().get(timeout=20)["origin"] == "computed"
    assert len(shared_ollama.seen) >= 2
    assert set(shared_redis.scan_iter(f"{KEYS.cache}*")) == kept
