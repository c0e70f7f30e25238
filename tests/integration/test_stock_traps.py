"""Shows faults of stock Celery on Redis without a crash: dead connections and the order of jobs.

As in test_stock_faults.py, each test sees the stock classes fail and this service's pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from local_llm_service import tasks
from local_llm_service.worker.app import app
from local_llm_service.worker.embedded.processes.child_process import ChildProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.proxy import Proxy
from tests.doubles.stock_worker import TRANSPORT_OPTIONS, send, stock_app, stock_url
from tests.integration.conftest import StartStock, StartWorker

KEYS = Keys()

#: The time in which this service consumes again after a silence; a busy machine gets it twice.
RECOVERY_SECONDS = 15.0
#: Three of kombu's health checks of a stock worker could have run in this time.
STOCK_SECONDS = 6.0


def asked(server: FakeOllama) -> list[str]:
    """All prompts that reached the model, in order."""
    return [seen.body["messages"][-1]["content"] for seen in server.seen]


def test_half_open_connection(
    start_worker: StartWorker,
    start_stock: StartStock,
    ollama: FakeOllama,
    redis_process: RedisProcess,
    stock_redis: redis.Redis,
) -> None:
    """The peer vanishes without a word: stock waits forever, we are back within 15 s.

    Stock even gets a short interval for kombu's own health check, but the check cannot run in a
    loop that waits for an answer.
    """
    with Proxy(redis_process.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        options = {**TRANSPORT_OPTIONS, "health_check_interval": 2}
        stock = start_stock(url, broker_transport_options=options)
        ours = start_worker(REDIS_URL=url, CONCURRENCY="4")
        ollama.respond = lambda _: Script(first_seconds=2)
        running = tasks.generate.delay("ours running")
        wait_until(lambda: asked(ollama) == ["ours running"], "a job runs")
        ollama.respond = lambda _: Script()

        proxy.go_silent()
        wait_until(lambda: proxy.tries_in_silence, "our worker gave up a connection", 30)
        wait_until(
            lambda: all("b" not in client["flags"] for client in stock_redis.client_list()),
            "Redis no longer waits for a dead client",
        )
        proxy.recover()
        recovered_at = time.monotonic()

        send(stock_url(redis_process.url), "stock")
        ours_new = tasks.generate.delay("ours new")
        assert ours_new.get(timeout=RECOVERY_SECONDS)["text"] == "Hello."
        assert running.get(timeout=30)["text"] == "Hello."
        wait_until(lambda: time.monotonic() > recovered_at + STOCK_SECONDS, "6 s are over")
        assert stock.running
        assert stock_redis.llen("llm.high") == 1, "the stock worker consumes again"
        assert ours.running
        assert sorted(asked(ollama)) == ["ours new", "ours running"]


def fill(add: Callable[[str, str], object], most: int = 3) -> None:
    """Put `most` jobs into each queue, the least urgent queue first."""
    for queue in reversed(keys.QUEUES):
        for number in range(most):
            add(f"{queue} {number}", queue)


def queues_asked(server: FakeOllama, count: int) -> list[str]:
    """The queue of each job, in the order of their starts, once `count` have started."""
    wait_until(lambda: len(server.seen) >= count, f"{count} jobs have run", 30)
    return [prompt.split()[0] for prompt in asked(server)]


STRICT = [queue for queue in keys.QUEUES for _ in range(3)]


def test_order_of_queues_stock(
    start_stock: StartStock, ollama: FakeOllama, stock_redis: redis.Redis, redis_process: Any
) -> None:
    """By default the queues take turns: a low job runs before the second high one."""
    fill(lambda prompt, queue: send(stock_url(redis_process.url), prompt, queue))
    options = {**TRANSPORT_OPTIONS, "queue_order_strategy": "round_robin"}
    start_stock(worker_concurrency=1, broker_transport_options=options)
    assert set(queues_asked(ollama, 9)[:3]) == set(keys.QUEUES)


def test_order_of_queues(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """All high jobs run first, then all normal ones, then the low ones."""
    fill(lambda prompt, queue: tasks.generate.apply_async((prompt,), queue=queue))
    start_worker(CONCURRENCY="1")
    assert queues_asked(ollama, 9) == STRICT


def test_message_priority_stock(
    start_stock: StartStock, ollama: FakeOllama, stock_redis: redis.Redis, redis_process: Any
) -> None:
    """With the default steps, a message's own priority outranks the order of the queues."""
    options = {**TRANSPORT_OPTIONS}
    del options["priority_steps"]
    producer = stock_app(stock_url(redis_process.url), broker_transport_options=options)
    for queue, priority in (("llm.high", 9), ("llm.low", 0)):
        producer.send_task("llm.generate", args=[queue], queue=queue, priority=priority)
    start_stock(worker_concurrency=1, broker_transport_options=options)
    assert queues_asked(ollama, 2) == ["llm.low", "llm.high"]


def test_message_priority(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """The queue is the priority; a message's own has no effect."""
    for queue, priority in (("llm.high", 9), ("llm.low", 0)):
        app.send_task("llm.generate", args=[queue], queue=queue, priority=priority)
    start_worker(CONCURRENCY="1")
    assert queues_asked(ollama, 2) == ["llm.high", "llm.low"]


def close_and_open(control: Any, queue: str, worker: ChildProcess) -> None:
    """Pause a queue and resume it, as an operator does through Celery or Flower.

    Each command is repeated until the worker hears it: a worker that just started does not listen.
    """

    def has_said(words: str, command: Callable[[str], object]) -> bool:
        command(queue)
        return f"{words} {queue}" in worker.log_path.read_text(errors="replace")

    wait_until(lambda: has_said("Canceling queue", control.cancel_consumer), "the queue is closed")
    wait_until(
        lambda: has_said("Started consuming from", control.add_consumer), "the queue is open"
    )


def test_resumed_queue_stock(
    start_stock: StartStock, ollama: FakeOllama, stock_redis: redis.Redis, redis_process: Any
) -> None:
    """From then on the most urgent queue is served last."""
    url = stock_url(redis_process.url)
    close_and_open(stock_app(url).control, "llm.high", start_stock(worker_concurrency=1))
    ollama.respond = lambda _: Script(first_seconds=1)
    send(url, "first", "llm.normal")
    wait_until(lambda: ollama.seen, "the slot is busy")
    ollama.respond = lambda _: Script()
    fill(lambda prompt, queue: send(url, prompt, queue))
    assert queues_asked(ollama, 10)[-3:] == ["llm.high"] * 3


def test_resumed_queue(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """The most urgent queue is served first again."""
    close_and_open(app.control, "llm.high", start_worker(CONCURRENCY="1"))
    ollama.respond = lambda _: Script(first_seconds=1)
    tasks.generate.delay("first", priority="normal")
    wait_until(lambda: ollama.seen, "the slot is busy")
    ollama.respond = lambda _: Script()
    fill(lambda prompt, queue: tasks.generate.apply_async((prompt,), queue=queue))
    assert queues_asked(ollama, 10)[1:] == STRICT


def test_control_is_answered(start_worker: StartWorker, redis_client: redis.Redis) -> None:
    """Replies to `ping` and `inspect`, including Flower's, reach the asker, as with stock."""
    start_worker()
    wait_until(lambda: app.control.ping(timeout=1, limit=1), "a reply to ping")
    stats = app.control.inspect(timeout=10, limit=1).stats()
    assert [one["pool"]["max-concurrency"] for one in stats.values()] == [1]
    assert redis_client.llen(KEYS.unreadable) == 0
