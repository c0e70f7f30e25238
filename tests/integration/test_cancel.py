"""Cancelling works for queued and running jobs, with and without a worker, by every way in."""

from __future__ import annotations

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()

pytestmark = pytest.mark.local_llm(redis="embedded")


def runs(server: FakeOllama, prompt: str) -> int:
    """How often the model was asked this prompt."""
    return sum(seen.body["messages"][-1]["content"] == prompt for seen in server.seen)


def slow(server: FakeOllama, seconds: float) -> None:
    """Make every answer take `seconds`."""
    server.respond = lambda _: Script(chunks=("a",) * 10, pause_seconds=seconds / 10)


def test_cancelling_a_running_job_closes_its_stream_and_frees_the_slot(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """The caller gets Cancelled; a waiting job gets the slot."""
    from local_llm_service.producers import cancel

    slow(ollama, 60)
    start_worker(CONCURRENCY="1")
    result = tasks.generate.delay("long")
    wait_until(lambda: runs(ollama, "long") == 1, "the job runs")
    ollama.respond = lambda _: Script()
    waiting = tasks.generate.delay("waiting")
    assert cancel(result.id) is JobState.RUNNING
    with pytest.raises(errors.Cancelled):
        result.get(timeout=20)
    assert waiting.get(timeout=20)["text"] == "Hello."
    assert ollama.seen[0].closed_at is not None
    assert status(result.id) is JobState.CANCELLED


def test_cancelling_during_prompt_evaluation_closes_the_stream_too(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """No byte of the answer has arrived yet."""
    from local_llm_service.producers import cancel

    ollama.respond = lambda _: Script(first_seconds=60)
    start_worker()
    result = tasks.generate.delay("long")
    wait_until(lambda: runs(ollama, "long") == 1, "the job runs")
    cancel(result.id)
    with pytest.raises(errors.Cancelled):
        result.get(timeout=20)
    wait_until(lambda: ollama.seen[0].closed_at is not None, "the stream is closed")


def test_a_cancel_holds_when_no_worker_is_up(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The caller is told at once, and a worker that starts later never runs the job."""
    result = tasks.generate.delay("cancelled")
    done = run_python("-m", "producers", "cancel", result.id)
    assert (done.returncode, done.stdout) == (0, "cancelled\n")
    with pytest.raises(errors.Cancelled):
        result.get(timeout=5)
    start_worker()
    assert tasks.generate.delay("wanted").get(timeout=20)["text"] == "Hello."
    assert runs(ollama, "cancelled") == 0
    assert run_python("-m", "producers", "cancel", "nobody").returncode == 5


@pytest.mark.parametrize("how", ["revoke", "result.revoke"])
def test_celerys_own_revoke_cancels(local_llm: LocalLLM, how: str) -> None:
    """Flower's button calls `revoke(terminate=True)` through this app."""
    with local_llm.held():
        result = tasks.generate.delay("long")
        local_llm.wait_until_asked()
        if how == "revoke":
            app.control.revoke(result.id, terminate=True)
        else:
            result.revoke(terminate=True)
        with pytest.raises(errors.Cancelled):
            result.get(timeout=20)


def test_ignore_result_does_not_leave_a_delivery_in_flight(local_llm: LocalLLM) -> None:
    """Storing the answer ends the delivery, so it is stored even if the caller wants none."""
    sent = tasks.generate.apply_async(("hi",), ignore_result=True)
    wait_until(lambda: status(sent.id) is JobState.SUCCEEDED, "the job is answered")
    assert len(local_llm.prompts) == 1
    assert process_store().client.hlen(KEYS.unacked) == 0


def test_an_answered_job_cannot_be_cancelled(local_llm: LocalLLM) -> None:
    """The job keeps its answer."""
    from local_llm_service.producers import cancel

    result = tasks.generate.delay("hi")
    answer = result.get(timeout=20)
    assert cancel(result.id) is JobState.SUCCEEDED
    assert result.get(timeout=5) == answer
