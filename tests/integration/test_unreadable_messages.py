"""Unreadable messages, such as another language or a broken producer may send."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until

KEYS = Keys()

SHARED_WORKER = {"CONCURRENCY": "1"}  # one slot takes messages in the queue's order


def message(**changes: Any) -> str:
    """A message as another language might send it, with `changes` to its parts."""
    whole = {
        "body": "W1tdLCB7InByb21wdCI6ICJoaSJ9LCB7fV0=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "llm.generate", "id": "odd"},
        "properties": {"delivery_tag": "t", "delivery_info": {}, "body_encoding": "base64"},
    }
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    "raw",
    [
        message(body="not base64!"),
        message(body=7),
        message(headers={"task": None, "id": "odd"}),
        message(headers={"task": "llm.generate", "id": "odd", "stamped_headers": 7}),
        message(properties={"delivery_tag": "t", "body_encoding": "nonsense"}),
        message().replace('"base64"', '"base64", "priority": 0x2'),
        "not json at all",
        "{}",
    ],
)
def test_an_unreadable_message_ends_no_worker(
    shared_worker: WorkerProcess, shared_redis: redis.Redis, raw: str
) -> None:
    """The message is refused or set aside, and the same worker answers the next job."""
    shared_redis.lpush(KEYS.queue("llm.high"), raw)
    assert tasks.generate.delay("hi", cache=False).get(timeout=20)["text"] == "Hello."
    assert shared_worker.running
    assert shared_redis.llen(KEYS.queue("llm.high")) == 0
    wait_until(lambda: shared_redis.hlen(KEYS.unacked) == 0, "no delivery is left in flight")


def test_a_message_that_is_not_utf_8_ends_no_worker(
    shared_worker: WorkerProcess, shared_redis: redis.Redis
) -> None:
    """Redis lists can hold any bytes."""
    shared_redis.execute_command("LPUSH", KEYS.queue("llm.high"), b"\xff" + message().encode())
    assert tasks.generate.delay("hi", cache=False).get(timeout=20)["text"] == "Hello."
    assert shared_worker.running
