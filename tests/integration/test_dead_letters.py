"""Permanently failed jobs become dead letters, which can be read, replayed and dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import models, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()


def cli(*words: str) -> Any:
    """The output of `python -m producers dead ... --json`."""
    done = run_python("-m", "local_llm_service.producers", "dead", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_permanently_failed_job_can_be_read_and_replayed(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """After list, show and replay the task id is the same, the failure gone, the answer there."""
    start_worker()
    result = tasks.generate.delay("hi", model="nope")
    with pytest.raises(errors.ModelMissing):
        result.get(timeout=20)
    (letter,) = cli("list")
    assert (letter["task_id"], letter["error"]) == (result.id, "model_missing")
    assert letter["starts"] == 0  # no worker takes a job whose model it lacks
    shown = cli("show", result.id, "--request")
    assert shown["request"]["kwargs"] == {"prompt": "hi", "model": "nope"}
    assert "request" not in cli("show", result.id)
    ollama.models = ("fake:1b", "nope")
    wait_until(lambda: "nope" in [one["name"] for one in models()], "the worker sees the model")
    assert cli("replay", result.id) == {"replayed": [result.id]}
    fresh = app.AsyncResult(result.id)
    wait_until(lambda: status(result.id) is JobState.SUCCEEDED, "the job is answered")
    assert fresh.get(timeout=20)["text"] == "Hello."
    assert cli("list") == []


def test_a_dead_letter_can_be_dropped(start_worker: StartWorker) -> None:
    """The dead letter is gone; the job's failure can still be read."""
    start_worker()
    result = tasks.generate.delay("hi", model="nope")
    with pytest.raises(errors.ModelMissing):
        result.get(timeout=20)
    assert cli("drop", result.id) == {"dropped": result.id}
    assert cli("list") == []
    assert (
        run_python("-m", "local_llm_service.producers", "dead", "show", result.id).returncode == 5
    )
    assert run_python("-m", "producers", "result", result.id).returncode == 1


def test_a_cancelled_job_is_not_a_dead_letter(redis_client: redis.Redis) -> None:
    """Nobody needs to investigate a cancel."""
    from local_llm_service.producers import cancel

    cancel(tasks.generate.delay("x").id)
    assert redis_client.zcard(KEYS.dead_letters) == 0
