"""Bodies and results are plain JSON text in Redis, and what a model writes stays data."""

from __future__ import annotations

import base64
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import InternalError, ModelFailed
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

KEYS = Keys()
JUNK = {"__type__": "uuid", "__value__": "junk"}
HUGE = {"__type__": "decimal", "__value__": "1E+999999999"}
SCHEMA = {
    "type": "object",
    "properties": {"__type__": {"type": "string"}, "__value__": {"type": "string"}},
    "required": ["__type__", "__value__"],
}


@pytest.mark.parametrize("written", [JUNK, HUGE, {"__type__": "bytes", "__value__": "x"}])
def test_what_a_model_writes_stays_data(
    worker: WorkerProcess, ollama: FakeOllama, written: dict[str, str]
) -> None:
    """Under a schema with such names, at the call, in the chain, and from the cache."""
    ollama.respond = lambda _: Script(chunks=(json.dumps(written),))
    first = tasks.structured_output.delay("x", SCHEMA).get(timeout=20)
    assert first["data"] == written
    again = wait_until(lambda: tasks.structured_output.delay("x", SCHEMA), "it is sent again")
    assert again.get(timeout=20)["data"] == written
    assert tasks.structured_output.AsyncResult(again.id).get(timeout=20)["data"] == written


def test_a_stock_sender_s_schema_may_have_such_names(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """By name, over a bare list, with a chain behind it: the message is read as plain JSON too."""
    ollama.respond = lambda _: Script(chunks=(json.dumps(JUNK),))
    url = os.environ["REDIS_URL"]
    app = Celery("backend", broker=url, backend=url, set_as_current=False)
    sent = app.send_task(
        "llm.structured_output",
        kwargs={"prompt": "x", "schema": {**SCHEMA, "examples": [JUNK]}},
        queue="llm.normal",
    )
    assert tasks.structured_output.AsyncResult(sent.id).get(timeout=20)["data"] == JUNK


def test_a_result_that_cannot_be_read_harms_nobody_else(
    redis_client: redis.Redis, worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """Whoever waits for it gets an error; a thread that waits for its own job gets its answer."""
    ollama.respond = lambda body: Script(
        first_seconds=0.5 if "slow" in str(body["messages"]) else 0
    )
    for place, junk in enumerate(("not json", "[]", '{"status": "SUCCESS", "result": ', "{}")):
        with ThreadPoolExecutor() as pool:
            slow = tasks.generate.delay(f"slow {place}")
            waiting = pool.submit(slow.get, timeout=20)
            wait_until(
                lambda slow=slow: redis_client.pubsub_numsub(KEYS.announced(slow.id))[0][1],
                "somebody listens",
            )
            redis_client.publish(KEYS.announced(slow.id), junk)
            redis_client.set(KEYS.result("bad"), junk, ex=60)
            with pytest.raises(InternalError, match="cannot be read"):
                tasks.generate.AsyncResult("bad").get(timeout=5)
            assert waiting.result()["text"] == "Hello."


def test_a_header_may_look_like_a_type_of_kombu(worker: WorkerProcess) -> None:
    """The message as a whole is read as plain JSON, not only its body."""
    sent = tasks.generate.apply_async(("with a header",), headers={"trace": JUNK})
    assert sent.get(timeout=20)["text"] == "Hello."


def test_a_failure_keeps_its_shape(worker: WorkerProcess, redis_client: redis.Redis) -> None:
    """Celery's: type, arguments, module; other Celery clients read it, too."""
    failed = tasks.generate.delay("x", model="absent:1b")
    with pytest.raises(Exception, match="absent"):
        failed.get(timeout=20)
    kept = json.loads(str(redis_client.get(KEYS.result(failed.id))))["result"]
    assert kept.keys() == {"exc_type", "exc_message", "exc_module"}
    assert kept["exc_module"] == ModelFailed.__module__
    assert len(kept["exc_message"]) == 2


def test_a_message_is_text_that_stock_tools_read(redis_client: redis.Redis) -> None:
    """No base64, no escapes: an emoji takes four bytes, and kombu alone reads the call."""
    sent = tasks.generate.delay("😀" * 1000, priority="low")
    raw = redis_client.lindex(KEYS.queue("llm.low"), 0)
    assert len(str(raw).encode()) < 4 * 1000 + 1500
    message = json.loads(str(raw))
    assert message["content-type"] == "application/json"
    assert json.loads(message["body"])[1]["prompt"] == "😀" * 1000
    options = {"global_keyprefix": KEYS.prefix, "priority_steps": [0]}
    with Connection(os.environ["REDIS_URL"], transport_options=options) as connection:
        read = connection.SimpleQueue("llm.low").get(timeout=5)
        assert read.headers["id"] == sent.id
        assert read.payload[1]["prompt"] == "😀" * 1000
        read.ack()


def _as_of_old(raw: str) -> str:
    """A message as older versions wrote it: base64 over escapes."""
    message: dict[str, Any] = json.loads(raw)
    body = json.dumps(json.loads(message["body"])).encode()
    message["body"] = base64.b64encode(body).decode()
    message["properties"]["body_encoding"] = "base64"
    return json.dumps(message)


def test_messages_from_before_an_upgrade_are_read(
    redis_client: redis.Redis, start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """They may wait in a queue while producers and workers change."""
    queue = KEYS.queue("llm.low")
    sent = tasks.generate.delay("naïve 😀", priority="low")
    old = _as_of_old(str(redis_client.rpop(queue)))
    redis_client.lpush(queue, old)
    start_worker()
    assert sent.get(timeout=20)["text"] == "Hello."
    assert "naïve 😀" in json.dumps(ollama.seen[0].body, ensure_ascii=False)


def test_a_collected_message_is_text_too(redis_client: redis.Redis) -> None:
    """A stock sender's base64 over escapes does not stay in our queue."""
    from local_llm_service.worker.celery_ext.bare_lists import collect
    from local_llm_service.worker.store.store import process_store

    url = os.environ["REDIS_URL"]
    app = Celery("backend", broker=url, backend=url, set_as_current=False)
    app.send_task("llm.generate", ["😀" * 1000], queue="llm.low")
    assert collect(process_store()) == 1
    body = json.loads(str(redis_client.lindex(KEYS.queue("llm.low"), 0)))["body"]
    assert json.loads(body)[0] == ["😀" * 1000]
    assert body.count("😀") == 1000
