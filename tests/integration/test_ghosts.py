"""A call that fails leaves nothing: no record, no place in a queue, no message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import chain

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.doubles.ollama import FakeOllama
from tests.integration.conftest import StartWorker

KEYS = Keys()


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def left(client: redis.Redis) -> list[str]:
    """What Redis has of any job. kombu's tables of queues may be there."""
    own = (KEYS.prefix + "binding", "_kombu")
    return [key for key in client.scan_iter() if not key.startswith(own)]


BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "countdown: not a number": {"countdown": float("nan")},
    "countdown: without end": {"countdown": float("inf")},
    "countdown: past all dates": {"countdown": 1e12},
    "countdown: text": {"countdown": "5"},
    "countdown: after the deadline": {"countdown": 86_400},
    "countdown: a step's": {"chain": [tasks.generate.s().set(countdown=float("nan"))]},
    "eta: a number": {"eta": 5},
    "eta: after the deadline": {"eta": datetime.now(UTC) + timedelta(days=2)},
    "headers: no JSON": {"headers": {"trace": object()}},
    "headers: bytes": {"headers": {"trace": b"1"}},
    "headers: not a dict": {"headers": ["trace"]},
    "headers: half a character": {"headers": {"trace": "\ud800"}},
    "headers: 980 deep": {"headers": {"trace": nested(980)}},
    "headers: deeper than any stack": {"headers": {"trace": nested(100_000)}},
    "link: no signature": {"link": "llm.generate"},
    "link: an object": {"link": object()},
    "link: one of two": {"link": [tasks.generate.s(), 5]},
    "link: of what is no JSON": {"link": tasks.generate.s(object())},
    "link_error: a function": {"link_error": print},
    "expires: not a number": {"expires": float("nan")},
    "task_id: a number": {"task_id": 5},
    "task_id: an object": {"task_id": uuid4()},
    "task_id: half a character": {"task_id": "\ud800"},
    "shadow: an object": {"shadow": object()},
    "serializer: unknown": {"serializer": "telepathy"},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_a_wrong_option_is_refused_and_leaves_nothing(
    redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    """One typed error that names the option, or the type of what went wrong."""
    with pytest.raises(errors.InvalidRequest) as caught:
        tasks.generate.apply_async(("hi",), **options)
    assert caught.value.hint
    assert left(redis_client) == []


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, MemoryError])
def test_whatever_else_comes_between_leaves_nothing(
    redis_client: redis.Redis, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of a library, Ctrl-C, no memory: the caller gets just that."""

    def fail(*_: Any, **__: Any) -> None:
        raise error("while the message is made")

    monkeypatch.setattr(app.amqp, "create_task_message", fail)
    monkeypatch.setattr(type(app.amqp), "as_task_v2", fail)
    with pytest.raises(error, match="while the message is made"):
        tasks.generate.delay("hi")
    assert left(redis_client) == []


def test_options_that_are_right_are_taken(redis_client: redis.Redis) -> None:
    """What stock Celery takes, too: a start in the past, one errback, a step's own options."""
    done = [
        tasks.generate.s("a").apply_async(countdown=-5),
        tasks.generate.s("b").apply_async(eta=datetime.now(UTC) + timedelta(seconds=60)),
        tasks.generate.s("c").apply_async(eta=datetime.now() - timedelta(days=1)),
        tasks.generate.s("d").apply_async(headers={"trace": {"id": ["1", None, 2.5]}}),
        tasks.generate.s("e").apply_async(link=tasks.summarize.s(), link_error=[]),
        tasks.generate.s("f").apply_async(expires=float("inf"), countdown=60),
        chain(tasks.generate.s("g"), tasks.summarize.s().set(countdown=5)).apply_async().parent,
    ]
    states = {JobState.QUEUED, JobState.DEFERRED}
    assert {status(one.id) for one in done} == states


@pytest.mark.parametrize(
    "spoil",
    [
        lambda step: step.set(countdown=float("nan")),
        lambda step: step.set(link=5),
        lambda step: step.set(headers=nested(50)),
    ],
    ids=["countdown", "link", "headers"],
)
def test_a_step_that_a_worker_cannot_send_fails_alone(
    start_worker: StartWorker, ollama: FakeOllama, spoil: Callable[[Any], Any]
) -> None:
    """A callback's callback is seen by nobody before: the job before keeps its one answer."""
    # Sent as another application would, which checks nothing.
    step = spoil(tasks.summarize.s().set(task_id="step"))
    first = {"link": step}
    app.send_task("llm.generate", ("hi",), task_id="first", queue="llm.high", **first)
    start_worker()
    assert app.AsyncResult("first").get(timeout=20)["text"] == "Hello."
    with pytest.raises(errors.InvalidRequest):
        app.AsyncResult("step").get(timeout=20)
    assert len(ollama.seen) == 1


EAGER = """
from celery import chain
from local_llm_service import tasks
from local_llm_service.worker import errors
from local_llm_service.worker.app import app

app.conf.task_always_eager = True
done = tasks.generate.delay("hi")
assert done.ready()
print(done.get()["text"])
print(chain(tasks.generate.s("hi"), tasks.generate.s()).apply_async().get()["text"])
try:
    tasks.generate.delay("")
except errors.InvalidRequest as error:
    print(error)
"""


def test_always_eager_runs_at_once_and_leaves_nothing(
    redis_client: redis.Redis, ollama: FakeOllama, run_python: Callable[..., Any]
) -> None:
    """A caller's test suite: jobs run in the calling process, and a wrong call is refused first."""
    done = run_python("-c", EAGER, OLLAMA_HOST=ollama.host, MODEL_NAME="fake:1b")
    said = done.stdout.splitlines()
    assert said == ["Hello.", "Hello.", "prompt: must not be empty"], done.stderr
    assert left(redis_client) == []
