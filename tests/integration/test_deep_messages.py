"""Messages nested so deep that whoever reads, copies or prints them gets a RecursionError."""

from __future__ import annotations

import json

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until

KEYS = Keys()
SHARED_WORKER = {"CONCURRENCY": "2"}
QUEUE = "llm.normal"
PLACES = ("headers", "properties", "kwargs", "embed")


def nested(depth: int) -> str:
    """JSON, as another language may write it."""
    return "[" * depth + "]" * depth


def message(task_id: str, depth: int, where: str) -> str:
    """A call with something deep in its headers, its arguments or what comes after."""
    kwargs = '{"prompt": "hi"' + (f', "more": {nested(depth)}' if where == "kwargs" else "") + "}"
    embed = f'{{"chain": {nested(depth)}}}' if where == "embed" else "{}"
    deep = {one: nested(depth if where == one else 1) for one in PLACES}
    whole = {
        "body": f"[[], {kwargs}, {embed}]",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "llm.generate", "id": task_id, "more": "HEADERS"},
        "properties": {"delivery_tag": task_id, "delivery_info": {}, "more": "PROPERTIES"},
    }
    text = json.dumps(whole).replace('"HEADERS"', deep["headers"])
    return text.replace('"PROPERTIES"', deep["properties"])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("depth", [150, 400, 900, 980])
@pytest.mark.parametrize("queue", [KEYS.queue(QUEUE), QUEUE], ids=["ours", "bare"])
def test_whoever_sends_it_is_told_and_the_worker_lives(
    shared_worker: WorkerProcess, shared_redis: redis.Redis, queue: str, depth: int, where: str
) -> None:
    """It is refused once; no worker dies with it, and no other job waits for it."""
    task_id = f"{queue} {depth} {where}"
    shared_redis.lpush(queue, message(task_id, depth, where))
    with pytest.raises(errors.InvalidRequest):
        app.AsyncResult(task_id).get(timeout=20)
    assert tasks.generate.delay("hi", cache=False).get(timeout=20)["text"] == "Hello."
    assert shared_worker.running
    assert shared_redis.hget(KEYS.job(task_id), "crashes") is None


@pytest.mark.parametrize("where", PLACES)
def test_what_is_deeper_than_any_reader_goes_ends_no_worker(
    shared_worker: WorkerProcess, shared_redis: redis.Redis, where: str
) -> None:
    """Nobody can read its id, or somebody can and it is refused."""
    for queue in (KEYS.queue(QUEUE), QUEUE):
        shared_redis.lpush(queue, message(f"{queue} {where}", 100_000, where))
    for priority in keys.PRIORITIES:
        assert tasks.generate.delay("hi", priority=priority, cache=False).get(timeout=20)
    wait_until(lambda: shared_redis.hlen(KEYS.unacked) == 0, "no delivery is left in flight")
    wait_until(lambda: not shared_redis.exists(QUEUE), "the bare list is empty")
    assert shared_worker.running
