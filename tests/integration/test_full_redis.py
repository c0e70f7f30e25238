"""A Redis without free memory (`maxmemory`, `noeviction`) refuses every command that writes."""

from __future__ import annotations

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel
from local_llm_service.worker import errors
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker


def test_a_redis_that_is_full_is_an_error_with_a_hint_and_loses_no_lease(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Producers are told; running jobs keep their leases, and their answers are stored."""
    ollama.respond = lambda _: Script(chunks=("a",) * 5, pause_seconds=1)
    start_worker(LEASE_SECONDS="3")
    start_worker(LEASE_SECONDS="3")
    running = tasks.generate.delay("long")
    wait_until(lambda: ollama.seen, "it runs")
    redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(errors.BrokerUnreachable, match="is out of memory") as refused:
            tasks.generate.delay("more")
        assert "maxmemory" in refused.value.hint
        assert running.get(timeout=30)["finish_reason"] == "stop"
    finally:
        redis_client.config_set("maxmemory", "0")
    assert len(ollama.seen) == 1


def test_a_cancel_needs_no_memory(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """To take jobs away is a remedy for a Redis that is full."""
    ollama.respond = lambda _: Script(chunks=("a",) * 60, pause_seconds=0.5)
    start_worker(CONCURRENCY="1")
    running = tasks.generate.delay("runs", cache=False)
    wait_until(lambda: ollama.seen, "it runs")
    queued = tasks.generate.delay("waits", cache=False)
    redis_client.config_set("maxmemory", "1")
    try:
        assert cancel(queued.id) is JobState.CANCELLED
        assert cancel(running.id) is JobState.RUNNING
        for job in (queued, running):
            with pytest.raises(errors.Cancelled):
                job.get(timeout=30)
    finally:
        redis_client.config_set("maxmemory", "0")
