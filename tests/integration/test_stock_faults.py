"""Shows faults of stock Celery 5.7 on Redis that lose, repeat or strand jobs, and their remedy.

Each test sees the stock classes fail and this service's pass, where possible at the same moment of
the same fault. If a new Celery passes where stock must fail, one reason for worker/celery_ext is
gone. Tests judge by living processes, the model's requests and the content of Redis. The traps
without a crash are in test_stock_traps.py.
"""

from __future__ import annotations

import json
import signal
import threading

import pytest
import redis
from billiard.einfo import ExceptionInfo
from celery.concurrency.thread import TaskPool as StockTaskPool

from local_llm_service import tasks
from local_llm_service.worker.celery_ext.pool import TaskPool
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.dying_consumer import OURS, POINTS, STOCK
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.stock_worker import send, stock_url
from tests.integration.conftest import StartStock, StartWorker, run_python

KEYS = Keys()


def asked(server: FakeOllama) -> list[str]:
    """All prompts that reached the model, sorted."""
    return sorted(seen.body["messages"][-1]["content"] for seen in server.seen)


def has_succeeded(client: redis.Redis, key: str) -> bool:
    """Whether Celery has stored the job's answer."""
    raw = client.get(key)
    return raw is not None and json.loads(str(raw))["status"] == "SUCCESS"


def stock_result(task_id: str) -> str:
    """Celery's own key for a result."""
    return f"celery-task-meta-{task_id}"


# --- F1 -----------------------------------------------------------------------------------------


def test_redis_goes_away_at_light_load(
    start_worker: StartWorker, start_stock: StartStock, ollama: FakeOllama
) -> None:
    """One of four slots is busy: the stock worker ends, ours answers that job and the next."""
    with RedisProcess(appendonly=True) as server:
        stock = start_stock(server.url)
        ours = start_worker(REDIS_URL=server.url, CONCURRENCY="4")
        ollama.respond = lambda _: Script(first_seconds=4)
        send(stock_url(server.url), "stock")
        running = send(server.url, "ours")
        wait_until(lambda: asked(ollama) == ["ours", "stock"], "both jobs run")
        server.stop()
        wait_until(lambda: not stock.running, "the stock worker ends", 30)
        assert "Unrecoverable error" in stock.log_path.read_text()
        wait_until(lambda: all(seen.finished for seen in ollama.seen), "the model has answered")
        server.start()
        ollama.respond = lambda _: Script()
        new = send(server.url, "ours new")
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            for task_id in (running, new):
                key = KEYS.result(task_id)
                wait_until(lambda: has_succeeded(client, key), f"an answer of {task_id}", 30)  # noqa: B023
            assert client.hlen(KEYS.unacked) == client.hlen(KEYS.unacked_jobs) == 0
        assert ours.running
        assert asked(ollama) == ["ours", "ours new", "stock"]


# --- F2 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "is_told"), [(StockTaskPool, False), (TaskPool, True)])
def test_error_at_the_end_of_a_job(make: type[StockTaskPool], is_told: bool) -> None:
    """Our pool passes an error from the end of a slot on to Celery; Celery's own pool drops it."""
    pool = make(limit=1)
    told: list[ExceptionInfo] = []
    ended = threading.Event()

    def fail(_: object) -> None:
        ended.set()
        raise redis.ConnectionError("no result stored")

    pool.on_apply(lambda: None, (), {}, callback=fail, error_callback=told.append)
    assert ended.wait(20)
    pool.executor.shutdown(wait=True)
    assert [info.type for info in told] == [redis.ConnectionError] * is_told


def test_result_that_cannot_be_stored(
    start_worker: StartWorker,
    start_stock: StartStock,
    ollama: FakeOllama,
    redis_client: redis.Redis,
    stock_redis: redis.Redis,
    redis_process: RedisProcess,
) -> None:
    """Redis is full when a job ends: stock loses its only slot forever, ours takes the next job."""
    stock = start_stock(worker_concurrency=1, result_backend_always_retry=True)
    ours = start_worker(CONCURRENCY="1")
    ollama.respond = lambda _: Script(first_seconds=2)
    send(stock_url(redis_process.url), "stock")
    result = tasks.generate.delay("ours")
    wait_until(lambda: asked(ollama) == ["ours", "stock"], "both jobs run")
    redis_client.config_set("maxmemory", 1)
    try:
        wait_until(lambda: all(seen.finished for seen in ollama.seen), "the model has answered")
        wait_until(
            lambda: "OutOfMemory" in stock.log_tail() or not stock.running, "stock sees the error"
        )
    finally:
        redis_client.config_set("maxmemory", 0)
    ollama.respond = lambda _: Script()
    send(stock_url(redis_process.url), "stock new")
    assert tasks.generate.delay("ours new").get(timeout=30)["text"] == "Hello."
    assert stock.running
    assert ours.running
    assert stock_redis.llen("llm.high") == 1, "the stock worker has a slot"
    assert "stock new" not in asked(ollama)
    assert result.get(timeout=30)["text"] == "Hello.", "the job itself is not lost"


# --- F3 -----------------------------------------------------------------------------------------


def places(client: redis.Redis, prefix: str) -> tuple[int, int]:
    """How many messages are queued, and how many are in flight."""
    return client.llen(f"{prefix}llm.high"), client.hlen(f"{prefix}unacked")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("make", [STOCK, OURS])
def test_killed_between_pop_and_delivery(
    make: str, point: str, redis_process: RedisProcess, redis_client: redis.Redis
) -> None:
    """Until its second round trip is over, stock holds the message only in memory."""
    url = stock_url(redis_process.url) if make == STOCK else redis_process.url
    prefix = "" if make == STOCK else KEYS.prefix
    # The option that a sender on a Redis Cluster needs: no worker here collects bare lists.
    send(url, "job", prefix=prefix)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert places(client, prefix) == (1, 0)
        done = run_python("-m", "tests.doubles.dying_consumer", make, point, REDIS_URL=url)
        assert done.returncode == -signal.SIGKILL, done.stderr
        is_lost = make == STOCK and point != "callback"
        assert places(client, prefix) == (0, 0 if is_lost else 1)


# --- Blip ---------------------------------------------------------------------------------------


def kill_connections(client: redis.Redis) -> None:
    """Kill all connections, as the failover of a proxy does; Redis stays up."""
    for kind in ("normal", "pubsub"):
        client.execute_command("CLIENT", "KILL", "TYPE", kind)


def test_blip_with_jobs_running(
    start_worker: StartWorker,
    start_stock: StartStock,
    ollama: FakeOllama,
    redis_client: redis.Redis,
    redis_process: RedisProcess,
) -> None:
    """All connections break while three jobs run: stock runs each job twice, we run it once."""
    stock = start_stock()
    ours: WorkerProcess = start_worker(CONCURRENCY="4")
    ollama.respond = lambda _: Script(first_seconds=4)
    for number in range(3):
        send(stock_url(redis_process.url), f"stock {number}")
    results = [tasks.generate.delay(f"ours {number}") for number in range(3)]
    wait_until(lambda: len(ollama.seen) == 6, "all six jobs run")
    kill_connections(redis_client)
    twice = [f"stock {number}" for number in range(3) for _ in range(2)]
    wait_until(
        lambda: [p for p in asked(ollama) if p.startswith("stock")] == twice,
        "stock runs all jobs twice",
    )
    for result in results:
        wait_until(
            lambda: has_succeeded(redis_client, KEYS.result(result.id)),  # noqa: B023
            "our job is answered",
        )
    assert tasks.generate.delay("ours new").get(timeout=20)["text"] == "Hello."
    assert [p for p in asked(ollama) if p.startswith("ours")] == [
        *(f"ours {number}" for number in range(3)),
        "ours new",
    ]
    assert places(redis_client, KEYS.unacked) == (0, 0)
    assert ours.running
    assert stock.running
