"""Logic as calls: each driver hands it replies and errors, and nothing is left of what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.tasks.submit import Submitted
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import BrokerUnreachable, BrokerUnsafe, QueueFull
from local_llm_service.worker.store.calls import Call, Calls, Command, Script, drive, drive_async
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import NO_CACHE, Lifetimes

MOVES = Moves(Keys(), Lifetimes(60.0, 600, 60), NO_CACHE)
Answer = Callable[[Call], Any]


def blocking(calls: Calls[Any], answer: Answer) -> Any:
    """The driver of threads."""
    return drive(calls, answer)


def awaiting(calls: Calls[Any], answer: Answer) -> Any:
    """The driver of event loops."""

    async def answered(call: Call) -> Any:
        await asyncio.sleep(0)
        return answer(call)

    return asyncio.run(drive_async(calls, answered))


both = pytest.mark.parametrize("run", [blocking, awaiting])


class Redis:
    """Answers calls by their names, and notes them. An exception is raised."""

    def __init__(self, **replies: Any) -> None:
        self.replies = {"INFO": {"maxmemory_policy": "noeviction"}, "forget": 1, **replies}
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Any:
        self.calls.append(call)
        reply = self.replies[name_of(call)]
        if isinstance(reply, list) and reply and isinstance(reply[0], list | Exception):
            reply = reply.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    @property
    def names(self) -> list[str]:
        """What was called."""
        return [name_of(call) for call in self.calls]


def name_of(call: Call) -> str:
    """A script's name, or a command's first word."""
    if isinstance(call, Script):
        return call.name
    return str(call.words[0]) if isinstance(call, Command) else "rest"


def ask(run: Any, there: Redis, **arguments: Any) -> Submitted:
    """Submit a job as a client does."""
    given = {"prompt": "hi", "cache": False, **arguments}
    calls = tasks.generate.submission(given, None, MOVES, EvictionCheck())
    submitted: Submitted = run(calls, there)
    return submitted


@both
def test_a_call_is_admitted_and_put(run: Any) -> None:
    """The message is Celery's own, and its nonce that of the call."""
    there = Redis(submit=["queue", 0], put=1)
    done = ask(run, there, priority="low")
    assert there.names == ["INFO", "submit", "put"]
    submit, put = there.calls[1:]
    assert isinstance(submit, Script)
    assert isinstance(put, Script)
    assert submit.args[:4] == [done.task_id, done.task_id, "generate", "llm.low"]
    assert put.args[0] == "llm.low"
    assert put.args[2] == put.args[6] == done.task_id
    assert app.backend  # made without a connection


@both
def test_a_hit_is_the_result_itself(run: Any) -> None:
    """The caller learns the workers' consensus first, and then has the answer in one call."""
    there = Redis(submit=[["stale", "fake:1b 1"], ["hit", '"text": "Hello."']])
    done = ask(run, there, cache=True)
    assert there.names == ["INFO", "submit", "submit"]
    assert done.result is not None
    meta = app.backend.decode_result(done.result)
    assert (meta["result"]["text"], meta["result"]["origin"]) == ("Hello.", "cached")
    assert meta["task_id"] == done.task_id


@both
@pytest.mark.parametrize(
    ("broken", "called"),
    [
        ("INFO", ["INFO"]),
        ("submit", ["INFO", "submit"]),
        ("put", ["INFO", "submit", "put", "forget"]),
    ],
)
def test_a_redis_that_goes_is_told_and_nothing_is_left(
    run: Any, broken: str, called: list[str]
) -> None:
    """A job that was admitted and not put is forgotten, in a hurry."""
    replies = {"submit": ["queue", 0], "put": 1, broken: redis.ConnectionError("gone")}
    there = Redis(**replies)
    with pytest.raises(BrokerUnreachable):
        ask(run, there)
    assert there.names == called
    if broken == "put":
        assert there.calls[-1].in_a_hurry  # type: ignore[union-attr]


@both
@pytest.mark.parametrize("interrupted", ["submit", "put"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_caller_that_is_interrupted_leaves_no_job(
    run: Any, interrupted: str, error: BaseException
) -> None:
    """Redis may have taken it: nobody would have its id."""
    there = Redis(**{"submit": ["queue", 0], "put": 1, interrupted: error})
    with pytest.raises(type(error)):
        ask(run, there)
    assert there.names[-1] == "forget"


@both
def test_a_full_queue_and_an_unsafe_redis_are_refused(run: Any) -> None:
    """By jobs at admission, by bytes when the message is there, and before all by its policy."""
    with pytest.raises(QueueFull, match="holds 7 jobs"):
        ask(run, Redis(submit=["full", 7, 100]))
    there = Redis(submit=["queue", 0], put=[7, 100])
    with pytest.raises(QueueFull, match="this one has"):
        ask(run, there)
    assert there.names[-1] == "forget"
    unsafe = Redis(INFO={"maxmemory_policy": "allkeys-lru"})
    with pytest.raises(BrokerUnsafe):
        ask(run, unsafe)
    assert unsafe.names == ["INFO"]


@both
def test_logic_may_catch_an_error_and_go_on(run: Any) -> None:
    """It gets the error at the place of the call."""

    def logic() -> Calls[str]:
        try:
            yield Command(("PING",))
        except redis.ConnectionError:
            return str((yield Command(("ECHO",))))
        return "no error"

    assert run(logic(), Redis(PING=redis.ConnectionError(), ECHO="caught")) == "caught"
