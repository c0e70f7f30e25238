"""A canary in prompts and answers appears only in the message and in the result."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery

from local_llm_service import tasks
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import InvalidRequest, ServiceError
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()

CANARY = f"canary{uuid4().hex}"


@pytest.fixture
def events(redis_client: redis.Redis) -> Iterator[list[dict[str, Any]]]:
    """All Celery events that workers send, as Flower receives them."""
    seen: list[dict[str, Any]] = []
    ready, stop = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as base:
            receiver = app.events.Receiver(base, handlers={"*": seen.append})
            with receiver.consumer_context() as (connection, _, _):
                ready.set()
                while not stop.is_set():
                    try:
                        connection.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(10)
    yield seen
    stop.set()
    thread.join(10)


def other_app() -> Celery:
    """A backend's own Celery app, whose stock headers contain a repr of the arguments."""
    return Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)


def test_prompts_and_answers_stay_private(
    start_worker: StartWorker,
    ollama: FakeOllama,
    redis_client: redis.Redis,
    events: list[dict[str, Any]],
) -> None:
    """DEBUG logs, events, inspect replies, job records and tracebacks contain no word of them."""
    gate = threading.Event()
    ollama.respond = lambda body: _respond(body, gate)
    sent = [
        tasks.generate.delay(f"{CANARY} hold"),
        tasks.structured_output.delay(f"{CANARY} bad", {"type": "integer"}),
        tasks.generate.delay(f"{CANARY} boom"),
        tasks.generate.delay(f"{CANARY} refuse"),
    ]
    bodies = redis_client.lrange(KEYS.queue("llm.high"), 0, -1)
    headers = [json.loads(text)["headers"] for text in bodies]
    assert len(headers) == 4
    assert CANARY not in json.dumps(headers)

    worker = start_worker(CONCURRENCY="8", LOG_LEVEL="DEBUG", MAX_ATTEMPTS="1")
    by_name = other_app().send_task(
        "llm.generate", kwargs={"prompt": CANARY, "max_tokens": 0}, queue="llm.high"
    )
    other_app().send_task("llm.sumarize", kwargs={"context": CANARY}, queue="llm.high")
    redis_client.lpush(KEYS.queue("llm.high"), json.dumps(_not_a_call()))
    wait_until(lambda: len(ollama.seen) >= 4, "all four reach the model")
    replies = [
        getattr(app.control.inspect(timeout=10, limit=1), question)()
        for question in ("active", "reserved", "scheduled", "stats")
    ]
    assert "llm.generate" in json.dumps(replies[0])
    gate.set()
    raised = [
        result.get(timeout=20, propagate=False) for result in [*sent, app.AsyncResult(by_name.id)]
    ]
    errors = [error for error in raised if isinstance(error, ServiceError)]
    assert len(errors) == 4
    assert CANARY not in repr([error.args for error in errors])
    wait_until(
        lambda: sum(event["type"] in ("task-succeeded", "task-failed") for event in events) >= 5,
        "an event for each end",
    )
    results = {key: redis_client.get(key) for key in redis_client.scan_iter(f"{KEYS.result_meta}*")}
    failures = [text for text in results.values() if '"FAILURE"' in str(text)]
    worker.stop()

    assert len(failures) >= 3
    assert CANARY not in "".join(map(str, failures)), "errors and tracebacks in results"
    assert CANARY not in worker.log_path.read_text(), "the worker's log"
    assert CANARY not in json.dumps(events), "events"
    assert CANARY not in json.dumps(replies), "inspect replies"
    records = [redis_client.hgetall(key) for key in redis_client.scan_iter(f"{KEYS.job_record}*")]
    assert CANARY not in json.dumps(records), "job records"


def _respond(body: dict[str, Any], gate: threading.Event) -> Script:
    text = body["messages"][-1]["content"]
    if "hold" in text:
        return Script(chunks=(CANARY,), first_seconds=3.0)
    if "bad" in text:
        return Script(chunks=(f'"{CANARY}"',))
    if "boom" in text:
        return Script(status=500, error=f"it said {CANARY}")
    return Script(status=400, error=f"cannot do {CANARY}")


def _not_a_call() -> dict[str, Any]:
    """A message whose body is not [args, kwargs, options]; it kills stock Celery's consumer."""
    import base64

    return {
        "body": base64.b64encode(json.dumps({"x": CANARY}).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "llm.generate", "id": "not-a-call", "argsrepr": CANARY},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "llm.high"},
            "delivery_tag": str(uuid4()),
            "body_encoding": "base64",
        },
    }


def test_a_message_that_is_not_a_call_ends_as_a_typed_error(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """The sender's wait ends, and the worker goes on."""
    redis_client.lpush(KEYS.queue("llm.high"), json.dumps(_not_a_call()))
    start_worker()
    with pytest.raises(InvalidRequest, match="cannot be read as a call"):
        app.AsyncResult("not-a-call").get(timeout=20)
    unknown = other_app().send_task("llm.sumarize", queue="llm.high")
    with pytest.raises(InvalidRequest, match="no task of this name") as caught:
        app.AsyncResult(unknown.id).get(timeout=20)
    assert "llm.summarize" in caught.value.hint
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."


def test_a_pickled_message_is_refused_and_its_waiter_told(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """The worker reads only JSON; stock Celery drops such a message, and its waiter hangs."""
    sent = other_app().send_task(
        "llm.generate", kwargs={"prompt": "hi"}, queue="llm.high", serializer="pickle"
    )
    start_worker()
    with pytest.raises(InvalidRequest):
        app.AsyncResult(sent.id).get(timeout=20)


def test_names_that_a_caller_made_up_stay_private_too(
    start_worker: StartWorker, redis_client: redis.Redis, events: list[dict[str, Any]]
) -> None:
    """Property names of a schema and unknown arguments: the caller reads them, nobody else."""
    schemas = [
        {"properties": {CANARY: {"minLength": "x"}}},
        {"properties": {"a": {"$ref": f"#/{CANARY}"}}},
        {"properties": {CANARY: {"pattern": "("}}},
    ]
    calls: list[dict[str, Any]] = [
        *({"prompt": "p", "schema": schema} for schema in schemas),
        {"prompt": "p", "schema": True, CANARY: 1},
    ]
    worker = start_worker(LOG_LEVEL="DEBUG")
    sent = [
        other_app().send_task("llm.structured_output", kwargs=kwargs, queue="llm.high")
        for kwargs in calls
    ]
    raised = [app.AsyncResult(one.id).get(timeout=20, propagate=False) for one in sent]
    assert all(isinstance(error, InvalidRequest) for error in raised)
    assert sum(CANARY in error.message for error in raised) >= 2, "the caller is told the place"
    wait_until(
        lambda: sum(event["type"] == "task-failed" for event in events) >= len(calls),
        "an event for each end",
    )
    worker.stop()
    assert CANARY not in worker.log_path.read_text(), "the worker's log"
    assert CANARY not in json.dumps(events), "events, which Flower shows"
