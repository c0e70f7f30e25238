"""A free slot takes the most urgent waiting job; no job is fetched before a slot is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()


def prompts(server: FakeOllama) -> list[str]:
    """The prompts that have started at the server, in order."""
    return [seen.body["messages"][-1]["content"] for seen in server.seen]


def hold(server: FakeOllama, word: str) -> Callable[[], None]:
    """Hold answers to prompts that contain `word` until the returned function is called."""
    released = threading.Event()

    def respond(body: dict[str, Any]) -> Script:
        waits = word in body["messages"][-1]["content"] and not released.is_set()
        return Script(first_seconds=0.4 if waits else 0.0)

    server.respond = respond
    return released.set


def test_a_high_job_starts_next_when_200_low_ones_wait(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Every slot runs a low job and 200 more wait, but the high job starts next."""
    release = hold(ollama, "low")
    for number in range(204):
        tasks.generate.apply_async(kwargs={"prompt": f"low {number}"}, queue="llm.low")
    start_worker(CONCURRENCY="4")
    wait_until(lambda: len(ollama.seen) == 4, "four low jobs run")
    assert redis_client.llen(KEYS.queue("llm.low")) == 200, "no job is fetched past the slots"

    high = tasks.generate.delay("urgent")
    high.get(timeout=20)
    assert "urgent" in prompts(ollama)[4:8], "it started in the first free slots"
    place = prompts(ollama).index("urgent")
    assert redis_client.llen(KEYS.queue("llm.low")) >= 200 - 4, f"it was job number {place}"
    release()
    redis_client.delete(KEYS.queue("llm.low"))


def test_the_order_is_high_normal_low_and_first_come_first_served_within(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """One slot starts the jobs of all queues in the order of urgency."""
    sent = [
        tasks.generate.delay(f"{priority} {number}", priority=priority)
        for number in range(3)
        for priority in ("low", "normal", "high")
    ]
    start_worker(CONCURRENCY="1")
    for result in sent:
        result.get(timeout=20)
    assert prompts(ollama) == [
        f"{priority} {number}" for priority in ("high", "normal", "low") for number in range(3)
    ]


@pytest.mark.parametrize(
    ("task", "arguments", "queue"),
    [
        (tasks.generate, {"prompt": "x"}, "llm.high"),
        (tasks.summarize, {"context": "x"}, "llm.normal"),
        (tasks.compress, {"messages": [{"role": "user", "content": "x"}]}, "llm.normal"),
        (tasks.summarize, {"context": "x", "priority": "low"}, "llm.low"),
        (tasks.generate, {"prompt": "x", "priority": "normal"}, "llm.normal"),
    ],
)
def test_each_kind_has_a_queue_and_a_call_may_choose(
    redis_client: redis.Redis, task: Any, arguments: dict[str, Any], queue: str
) -> None:
    """Interactive kinds go to high and long ones to normal, unless `priority` says otherwise."""
    task.apply_async(kwargs=arguments)
    assert redis_client.llen(KEYS.queue(queue)) == 1


def test_celerys_queue_option_works(redis_client: redis.Redis) -> None:
    """`apply_async(queue=...)` works as in any Celery app; a queue without reader is refused."""
    tasks.summarize.apply_async(kwargs={"context": "x"}, queue="llm.low")
    assert redis_client.llen(KEYS.queue("llm.low")) == 1
    with pytest.raises(InvalidRequest, match="no queue") as caught:
        tasks.summarize.apply_async(kwargs={"context": "x"}, queue="llm.lo")
    assert "llm.high, llm.normal, llm.low" in caught.value.hint


def test_celerys_integer_priority_is_refused(redis_client: redis.Redis) -> None:
    """It would have no effect here; the error names the option to use instead."""
    with pytest.raises(InvalidRequest, match="priority"):
        tasks.generate.apply_async(args=("x",), priority=3)
