"""A member of a canvas is cancelled: whoever waits for the end of the canvas is told."""

from __future__ import annotations

import pytest
import redis
from celery import chain, chord
from celery.exceptions import ChordError

from local_llm_service import tasks
from local_llm_service.producers import cancel, status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.states import JobState
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker


def test_a_chord_hears_of_a_member_that_was_cancelled(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Cancelled while it waited, without any worker: whoever waits for the body is told."""
    body = tasks.generate.s().set(task_id="body")
    flow = chord([tasks.generate.s("a").set(task_id="a"), tasks.generate.s("b")], body)
    flow.apply_async()
    assert cancel("a") is JobState.RUNNING
    start_worker()
    with pytest.raises(ChordError):
        app.AsyncResult("body").get(timeout=20)
    assert status("a") is JobState.CANCELLED


def test_the_end_of_a_chain_hears_of_a_step_that_was_cancelled(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """By its own id, in a process that knows nothing of the steps before."""
    last = chain(tasks.generate.s("a").set(task_id="first"), tasks.generate.s()).apply_async()
    cancel("first")
    start_worker()
    with pytest.raises(errors.Cancelled):
        app.AsyncResult(last.id).get(timeout=20)
