"""What both clients put into Redis, and what they say of a job that no worker has taken."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import celery.signals
import pytest
import redis

from local_llm_service import AsyncClient, tasks
from local_llm_service.worker.errors import Cancelled, InvalidRequest, NotFound, NotReady
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.states import JobState
from tests.integration.faces import Face

KEYS = Keys()


@pytest.fixture(params=[False, True], ids=["threads", "event loop"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each client in turn."""
    face = Face(is_async=request.param)
    yield face
    face.end()


def message_of(client: redis.Redis, task_id: str, queue: str = "llm.normal") -> str:
    """The one message in a queue, with what is new in each call replaced."""
    (text,) = client.lrange(KEYS.queue(queue), 0, -1)
    client.delete(KEYS.queue(queue))
    message = json.loads(text)
    new = (task_id, message["properties"]["delivery_tag"], message["headers"]["llm_submitted"])
    for number, word in enumerate(new):
        text = text.replace(word, f"<{number}>")
    return re.sub(r"gen\d+@[^\"]*", "<origin>", text)


def test_a_message_is_byte_for_byte_that_of_delay(redis_client: redis.Redis, face: Face) -> None:
    """Workers, Flower and stock tools see no difference."""
    options: dict[str, Any] = {
        "priority": "normal",
        "cache_scope": "tenant ä",
        "deadline_seconds": 60.0,
        "stream": True,
        "task_id": "chosen",
    }
    face.generate("Grüße 🙂", temperature=0, **options)
    ours = message_of(redis_client, "chosen")
    record = redis_client.hgetall(KEYS.job("chosen"))
    redis_client.flushall()
    del options["task_id"]
    given = {"prompt": "Grüße 🙂", "temperature": 0, **options}
    tasks.generate.apply_async((), given, task_id="chosen")
    assert ours == message_of(redis_client, "chosen")
    theirs = redis_client.hgetall(KEYS.job("chosen"))
    assert record.keys() == theirs.keys()
    new = {"nonce", "submitted_ms", "deadline_ms"}
    assert {k: v for k, v in record.items() if k not in new} == {
        k: v for k, v in theirs.items() if k not in new
    }


def test_celerys_signals_are_sent_once_for_a_call(redis_client: redis.Redis, face: Face) -> None:
    """Tracing and the like hang on them, and may add headers."""
    heard = []

    def before(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "abc"
        heard.append("before")

    def after(sender: str, **_: Any) -> None:
        heard.append(sender)

    celery.signals.before_task_publish.connect(before)
    celery.signals.after_task_publish.connect(after)
    try:
        face.summarize("text", task_id="1")
    finally:
        celery.signals.before_task_publish.disconnect(before)
        celery.signals.after_task_publish.disconnect(after)
    assert heard == ["before", "llm.summarize"]
    assert '"trace": "abc"' in message_of(redis_client, "1")


def test_what_is_wrong_with_a_call_is_told_before_anything_is_queued(
    redis_client: redis.Redis, face: Face
) -> None:
    """As `.delay()` does, and a kind that does not exist."""
    for call, named in (
        (lambda: face.generate(""), "prompt: must not be empty"),
        (lambda: face.generate("p", max_tokens=0), "max_tokens"),
        (lambda: face.generate("p", priority="urgent"), "priority"),
        (lambda: face.generate("p", task_id="a\nb"), "task_id"),
        (lambda: face.submit("generate", {"prompt": "p", "colour": 1}), "colour"),
        (lambda: face.submit("generate", {}), "prompt: Field required"),
        (lambda: face.submit("__name__", {}), "no kind '__name__'"),
    ):
        with pytest.raises(InvalidRequest, match=re.escape(named)):
            call()
    assert redis_client.keys() == []


def test_a_job_that_waits_is_queued_and_not_ready(redis_client: redis.Redis, face: Face) -> None:
    """And a submit under its id is the same job."""
    job = face.compress([{"role": "user", "content": "hi"}], task_id="mine")
    assert face.compress([{"role": "user", "content": "other"}], task_id="mine").id == job.id
    assert redis_client.llen(KEYS.queue("llm.normal")) == 1
    assert job.status() is JobState.QUEUED
    assert job.progress() == Progress(0, 1, "queued")
    for timeout in (0, 0.05):
        with pytest.raises(NotReady, match="queued") as error:
            job.result(timeout)
        assert isinstance(error.value, TimeoutError)
    assert job.cancel() is JobState.CANCELLED
    with pytest.raises(Cancelled):
        job.result(5)
    assert job.cancel() is job.status() is JobState.CANCELLED


def test_a_job_that_nobody_submitted_is_not_found(redis_client: redis.Redis, face: Face) -> None:
    """Told apart from one that is not ready by the type of the error."""
    nobody = face.job("nobody")
    assert nobody.status() is nobody.cancel() is JobState.UNKNOWN
    assert nobody.progress() == Progress(0, 1, "unknown")
    for timeout in (0, 0.05, None):
        with pytest.raises(NotFound):
            nobody.result(timeout)


def test_a_submit_whose_task_is_cancelled_leaves_no_job(redis_client: redis.Redis) -> None:
    """At whatever place of the call that was: nobody has its id."""

    async def main() -> None:
        async with AsyncClient() as client:
            await client.generate("first", cache=False, task_id="first")
            for turns in range(40):
                task = asyncio.create_task(client.generate("hi", cache=False))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                done = await asyncio.gather(task, return_exceptions=True)
                if not isinstance(done[0], BaseException):
                    await done[0].cancel()

    asyncio.run(main())
    states = {key: redis_client.hget(key, "state") for key in redis_client.keys(f"{KEYS.job('')}*")}
    assert states.pop(KEYS.job("first")) == "queued"
    assert set(states.values()) <= {"cancelled"}
