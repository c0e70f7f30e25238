"""When a member of a canvas is cancelled, the waiter for the end of the canvas is told."""

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
    """A member is cancelled while queued, without any worker; the body's waiter is told."""
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
    """The last step's id tells it, even to a process that does not know the earlier steps."""
    last = chain(tasks.generate.s("a").set(task_id="first"), tasks.generate.s()).apply_async()
    cancel("first")
    start_worker()
    with pytest.raises(errors.Cancelled):
        app.AsyncResult(last.id).get(timeout=20)
