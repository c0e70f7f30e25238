"""No job is lost or run twice: leases, crashes, dead letters, retries, outages and drains."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import health, status
from local_llm_service.worker import errors
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()

SHORT_LEASE = {"LEASE_SECONDS": "3"}


def runs(server: FakeOllama, prompt: str) -> int:
    """How often the model was asked this prompt."""
    return sum(seen.body["messages"][-1]["content"] == prompt for seen in server.seen)


def slow(server: FakeOllama, seconds: float) -> None:
    """Make every answer take `seconds`."""
    server.respond = lambda _: Script(chunks=("a",) * 10, pause_seconds=seconds / 10)


def test_a_job_whose_worker_is_killed_runs_again_and_is_answered_once(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Its lease expires and another worker takes it; in the end no delivery is in flight."""
    slow(ollama, 30)
    first = start_worker(**SHORT_LEASE)
    result = tasks.generate.delay("job")
    wait_until(lambda: runs(ollama, "job") == 1, "the job runs")
    start_worker(**SHORT_LEASE)
    first.kill()
    ollama.respond = lambda _: Script()
    assert result.get(timeout=60)["text"] == "Hello."
    assert runs(ollama, "job") == 2
    assert redis_client.hget(KEYS.job(result.id), "crashes") == "1"
    wait_until(lambda: redis_client.hlen(KEYS.unacked) == 0, "no delivery is left in flight")
    assert redis_client.hlen(KEYS.unacked_jobs) == redis_client.zcard(KEYS.unacked_index) == 0


def test_a_long_job_keeps_its_lease_and_runs_once(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The job runs for two leases and more beside a second worker that would take it."""
    slow(ollama, 7)
    start_worker(**SHORT_LEASE)
    start_worker(**SHORT_LEASE)
    result = tasks.generate.delay("long")
    assert result.get(timeout=60)["finish_reason"] == "stop"
    assert runs(ollama, "long") == 1


def test_a_job_that_kills_its_worker_is_given_up_but_its_neighbours_are_answered(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """After MAX_CRASHES crashes the job is a dead letter; jobs that ran beside it are answered."""
    slow(ollama, 60)
    environment = {**SHORT_LEASE, "MAX_CRASHES": "2", "CONCURRENCY": "2"}
    poison, healthy = tasks.generate.delay("poison"), tasks.generate.delay("healthy")
    for crash in (1, 2):
        worker = start_worker(**environment)
        wait_until(lambda: runs(ollama, "poison") == crash, "the poison job runs", 60)  # noqa: B023
        if crash == 1:
            wait_until(lambda: runs(ollama, "healthy") == 1, "its neighbour runs")
        worker.kill()
    ollama.respond = lambda _: Script()
    start_worker(**environment)
    with pytest.raises(errors.CrashedTooOften, match="died 2 times"):
        poison.get(timeout=60)
    assert healthy.get(timeout=60)["text"] == "Hello."
    assert redis_client.zrange(KEYS.dead_letters, 0, -1) == [poison.id]


def test_at_most_one_quarantined_job_runs_in_a_worker(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Jobs that were running when a worker died run one at a time, beside healthy jobs."""
    slow(ollama, 60)
    first = start_worker(**SHORT_LEASE, CONCURRENCY="3")
    quarantined = [tasks.generate.delay(f"dangerous {number}") for number in range(3)]
    wait_until(lambda: len(ollama.seen) == 3, "all three run")
    first.kill()
    asked: list[str] = []
    together: list[int] = []

    def respond(body: dict[str, Any]) -> Script:
        prompt = body["messages"][-1]["content"]
        asked.append(prompt)
        open_now = [s for s in ollama.seen[3:] if not s.finished and s.closed_at is None]
        together.append(sum("dangerous" in s.body["messages"][-1]["content"] for s in open_now))
        return Script(first_seconds=0.5)

    ollama.respond = respond
    start_worker(**SHORT_LEASE, CONCURRENCY="3")
    for result in quarantined:
        result.get(timeout=60)
    assert len(asked) == 3
    assert max(together) == 1


def test_a_retry_holds_no_slot_while_it_waits(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """One slot answers another job while the first waits for its next try."""
    busy = Script(status=503, error="server busy")
    ollama.respond = lambda body: busy if runs_of(body) == "flaky" else Script()
    start_worker(CONCURRENCY="1", MAX_ATTEMPTS="3", RETRY_BASE_SECONDS="2")
    flaky = tasks.generate.delay("flaky")
    wait_until(lambda: status(flaky.id) is JobState.DEFERRED, "the job is deferred")
    assert tasks.generate.delay("other", priority="low").get(timeout=20)["text"] == "Hello."
    assert status(flaky.id) is JobState.DEFERRED
    ollama.respond = lambda _: Script()
    assert flaky.get(timeout=40)["text"] == "Hello."


def runs_of(body: dict[str, Any]) -> str:
    """The prompt in a request."""
    return str(body["messages"][-1]["content"])


def test_a_countdown_waits_in_redis_and_not_in_a_worker(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """A worker that started after the call finds the job when it is due."""
    later = tasks.generate.apply_async(("hi",), countdown=2)
    assert status(later.id) is JobState.DEFERRED
    assert redis_client.llen(KEYS.queue("llm.high")) == 0
    start_worker()
    assert later.get(timeout=20)["text"] == "Hello."


def test_an_outage_of_ollama_fails_no_job_and_uses_no_try(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Ollama dies in mid-answer: the job is put back, and the gate closes until Ollama returns."""
    slow(ollama, 30)
    start_worker(MAX_ATTEMPTS="1")
    result = tasks.generate.delay("job")
    wait_until(lambda: runs(ollama, "job") == 1, "the job runs")
    ollama.stop()
    wait_until(lambda: status(result.id) is JobState.QUEUED, "it is back in its queue")
    wait_until(lambda: health()["status"] == "down", "health says so")
    assert health()["workers"][0]["closed_by"] == ["ollama"]
    done = run_python("-m", "producers", "generate", "hi", "--timeout", "0.5")
    assert "ollama serve" in done.stderr.splitlines()[0]
    ollama.respond = lambda _: Script()
    ollama.start()
    assert result.get(timeout=20)["text"] == "Hello."
    assert redis_client.hget(KEYS.job(result.id), "attempts") is None


def test_a_deadline_that_passes_in_an_outage_says_so(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """No worker takes the job, yet its caller is told the reason in time."""
    ollama.stop()
    try:
        start_worker()
        with pytest.raises(errors.DeadlineExceeded, match="Ollama was unreachable"):
            tasks.generate.delay("job", deadline_seconds=1.5).get(timeout=20)
    finally:
        ollama.start()


def test_sigterm_puts_back_jobs_that_do_not_end_in_time(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """The job goes to the head of its queue at once, not as a crash; the next worker answers it."""
    slow(ollama, 60)
    worker = start_worker(DRAIN_SECONDS="1")
    result = tasks.generate.delay("long")
    tasks.generate.delay("after")
    wait_until(lambda: runs(ollama, "long") == 1, "the job runs")
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: not worker.running, "the worker ends")
    assert status(result.id) is JobState.QUEUED
    ollama.respond = lambda _: Script()
    start_worker()
    assert result.get(timeout=20)["text"] == "Hello."
    assert redis_client.hget(KEYS.job(result.id), "crashes") is None


def test_a_worker_that_lost_its_lease_stores_no_second_answer(
    redis_client: redis.Redis, start_worker: Callable[..., Any]
) -> None:
    """Only the later holder's fencing token is valid; the first stored answer stays."""
    from local_llm_service.worker.celery_ext.result_format import result_text
    from local_llm_service.worker.store.outcomes import NO_WORK, Ending, Settled, SettleFor
    from local_llm_service.worker.store.states import Lifetimes
    from local_llm_service.worker.store.store import Store

    jobs = Store(redis_client, Lifetimes(60, 60, 60)).jobs
    result = tasks.generate.delay("x")
    first = jobs.take(keys.QUEUES, worker="one", may_take_quarantined=True, nonce="1")
    assert first is not None
    redis_client.zadd(KEYS.unacked_index, {first.tag: 0})
    assert jobs.reap(lease_seconds=1, max_crashes=3) == [result.id]
    second = jobs.take(keys.QUEUES, worker="two", may_take_quarantined=True, nonce="2")
    assert second is not None
    assert second.crashes == 1

    def settle(token: str, text: str) -> Settled:
        meta = {"status": "SUCCESS", "date_done": "", "task_id": result.id, "result": text}
        ending = Ending(
            JobState.SUCCEEDED, "", SettleFor.EVERYONE, False, result_text(meta), NO_WORK
        )
        return jobs.settle(result.id, token, ending)[0]

    assert settle(first.token, "late") is Settled.LOST
    assert settle(second.token, "good") is Settled.STORED
    # This repeats the call, as after a lost reply.
    assert settle(second.token, "again") is Settled.STORED
    assert json.loads(str(redis_client.get(KEYS.result(result.id))))["result"] == "good"
    assert jobs.release(result.id, first.token) is False


def test_health_shows_a_worker_that_drains(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """It still runs jobs and takes none: a probe must not think that it has gone."""
    ollama.respond = lambda _: Script(first_seconds=4)
    worker = start_worker(DRAIN_SECONDS="30")
    result = tasks.generate.delay("long")
    wait_until(lambda: len(ollama.seen) == 1, "the job runs")
    assert health()["status"] == "healthy"
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(
        lambda: [one["closed_by"] for one in health()["workers"]] == [["draining"]],
        "health shows that it drains",
    )
    assert health()["status"] == "down", "no worker takes a job now"
    assert result.get(timeout=20)["text"] == "Hello."
    wait_until(lambda: health()["workers"] == [], "it has gone")


# --- settings that workers must share -----------------------------------------------------------


def test_a_worker_with_another_lease_does_not_start_beside_one_that_runs(
    start_worker: StartWorker,
) -> None:
    """With a shorter lease it would take jobs away from healthy workers."""
    start_worker(LEASE_SECONDS="20")
    done = run_python("-m", "worker", LEASE_SECONDS="5")
    assert done.returncode == 2
    assert "LEASE_SECONDS is 5 here and 20 in another worker" in done.stderr


@pytest.mark.parametrize("how", [("worker",), ("celery", "-A", "worker.app", "worker")])
def test_a_worker_does_not_start_on_a_redis_of_version_0_1(
    redis_client: redis.Redis, how: tuple[str, ...]
) -> None:
    """It would not see the jobs that wait there, and would refuse those that old workers run."""
    redis_client.set("llm:fence", 7, ex=60)
    done = run_python("-m", *how)
    assert done.returncode != 0
    assert "keys of version 0.1" in done.stderr
    assert "--scan --pattern 'llm:*'" in done.stderr


def test_a_worker_with_another_pool_does_not_start(redis_client: redis.Redis) -> None:
    """Delivery rests on our pool, which Celery's options could replace."""
    done = run_python("-m", "worker", "-P", "solo")
    assert done.returncode != 0
    assert "celery_ext.pool:TaskPool" in done.stderr


def test_metrics_report_a_workers_jobs(start_worker: StartWorker) -> None:
    """The page counts jobs by kind and outcome, and shows the gate's and the breaker's state."""
    import urllib.request

    from local_llm_service.worker.embedded.processes.ports import free_port

    port = free_port()
    start_worker(METRICS_PORT=str(port))
    tasks.generate.delay("hi").get(timeout=20)

    def page() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    counted = 'local_llm_jobs_ended_total{kind="generate",outcome="succeeded"} 1.0'
    wait_until(lambda: counted in page(), "the job is counted")
    assert "local_llm_gate_open 1.0" in page()
    assert "local_llm_breaker_closed 1.0" in page()
