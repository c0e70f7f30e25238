"""Celery's own tasks hold calls and answers of this service, and show neither."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.worker.app import app
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker
from tests.integration.test_privacy import events as events

KEYS = Keys()
CANARY = f"canary{uuid4().hex}"

MAPS = {
    "map": lambda: tasks.generate.map([f"{CANARY} a", f"{CANARY} b"]),
    "starmap": lambda: tasks.generate.starmap([(f"{CANARY} c",), (f"{CANARY} d",)]),
    "chunks": lambda: tasks.generate.chunks([(f"{CANARY} e",), (f"{CANARY} f",)], 2),
}


def test_a_name_that_a_sender_makes_up_is_not_shown(
    worker: WorkerProcess, events: list[dict[str, Any]]
) -> None:
    """Celery shows a message's `shadow` in place of its task's name."""
    sent = tasks.generate.apply_async(("hi",), shadow=CANARY)
    assert sent.get(timeout=20)["text"] == "Hello."
    wait_until(
        lambda: any(event["type"] == "task-succeeded" for event in events), "an event at the end"
    )
    assert CANARY not in json.dumps(events)
    assert CANARY not in worker.log_path.read_text()


@pytest.mark.parametrize("name", MAPS)
def test_a_map_shows_neither_prompt_nor_answer(
    name: str,
    start_worker: StartWorker,
    redis_client: redis.Redis,
    ollama: FakeOllama,
    events: list[dict[str, Any]],
) -> None:
    """Headers, DEBUG log, events and inspect replies contain no word of them."""
    gate = threading.Event()

    def respond(_: object) -> Script:
        gate.wait(20)
        return Script(chunks=(CANARY,))

    ollama.respond = respond
    sent = MAPS[name]().apply_async(queue="llm.normal")
    message = json.loads(redis_client.lindex(KEYS.queue("llm.normal"), 0) or "{}")
    assert CANARY not in json.dumps(message["headers"])
    worker = start_worker(CONCURRENCY="2", LOG_LEVEL="DEBUG")
    wait_until(lambda: ollama.seen, "the first call reaches the model")
    replies = [
        getattr(app.control.inspect(timeout=10, limit=1), question)()
        for question in ("active", "reserved")
    ]
    assert "celery." in json.dumps(replies)
    gate.set()
    assert CANARY in json.dumps(sent.get(timeout=20)), "the caller has the answers"
    wait_until(
        lambda: any(event["type"] == "task-succeeded" for event in events), "an event at the end"
    )
    worker.stop()
    assert CANARY not in json.dumps(replies), "inspect replies"
    assert CANARY not in json.dumps(events), "events"
    assert CANARY not in worker.log_path.read_text(), "the worker's log"
