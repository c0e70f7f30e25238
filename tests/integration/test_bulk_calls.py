"""Many calls through one `map`, in threads and in event loops, on a real Redis and worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from local_llm_service import AsyncClient, Client
from local_llm_service.producers import bulk
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    InvalidOutput,
    InvalidRequest,
    NotFound,
    QueueFull,
)
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import KEYS

SHARED_WORKER = {"CONCURRENCY": "4"}
pytestmark = pytest.mark.usefixtures("shared_worker")

#: `map` of one of the clients, to its end: (kind, items, options).
Mapped = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def model(shared_ollama: FakeOllama) -> FakeOllama:
    """A model that repeats its prompt, and hangs or writes nothing when told to."""

    def respond(body: dict[str, Any]) -> Script:
        prompt = body["messages"][-1]["content"]
        if "nothing" in prompt:
            return Script(chunks=("",))
        pause = 1.0 if "last" in prompt else 0.1 if "slow" in prompt else 0.0
        end = "hang" if "endless" in prompt else "done"
        return Script(chunks=(f"<{prompt}>",), first_seconds=pause, end=end)

    shared_ollama.respond = respond
    shared_ollama.seen.clear()
    return shared_ollama


def in_a_thread(kind: str, items: Any, **options: Any) -> list[Any]:
    """Client.map."""
    return list(Client().map(kind, items, **options))


def in_a_loop(kind: str, items: Any, **options: Any) -> list[Any]:
    """AsyncClient.map, with items that come asynchronously."""

    async def mapped() -> list[Any]:
        async with AsyncClient() as client:
            found = client.map(kind, asynchronous(items), **options)
            return [one async for one in found]

    return asyncio.run(mapped())


async def asynchronous(items: Any) -> AsyncIterator[Any]:
    """The same items."""
    for item in items:
        await asyncio.sleep(0)
        yield item


FACES = pytest.mark.parametrize("mapped", [in_a_thread, in_a_loop])


@FACES
def test_answers_come_in_the_order_of_the_items(mapped: Mapped) -> None:
    """A slow first item holds up its answer and not the work on the others."""
    prompts = [f"slow in order {mapped.__name__}", *(f"{mapped.__name__} {n}" for n in range(20))]
    answers = mapped("generate", prompts, max_tokens=5)
    assert [answer.text for answer in answers] == [f"<{prompt}>" for prompt in prompts]
    assert all(isinstance(answer, GenerateAnswer) for answer in answers)


@FACES
def test_answers_come_as_they_are_there_with_their_places(mapped: Mapped) -> None:
    """With `ordered=False` nothing waits for the item that is slow."""
    prompts = [f"comes last {mapped.__name__}", *(f"quick {mapped.__name__} {n}" for n in range(8))]
    pairs = mapped("generate", prompts, ordered=False, window=3)
    assert sorted(place for place, _ in pairs) == list(range(9))
    assert {place: answer.text for place, answer in pairs} == {
        place: f"<{prompt}>" for place, prompt in enumerate(prompts)
    }
    assert pairs[0][0] != 0


@FACES
def test_a_failure_stands_in_the_place_of_the_answer(mapped: Mapped) -> None:
    """A refused call and a failed job end neither the loop nor the others' order."""
    name = mapped.__name__
    items: list[Any] = [
        f"first {name} " * 30,
        "",
        {"context": f"nothing {name} " * 30},
        {"context": "c", "no_such_option": 1},
        {"context": f"end {name} " * 30, "max_summary_tokens": 7},
    ]
    found = mapped("summarize", items, priority="high")
    assert [type(one).__name__ for one in found] == [
        *("SummarizeAnswer", "InvalidRequest", "InvalidOutput", "InvalidRequest"),
        "SummarizeAnswer",
    ]
    assert isinstance(found[2], InvalidOutput)


@FACES
def test_the_window_bounds_what_is_in_flight(mapped: Mapped, model: FakeOllama) -> None:
    """Four slots are free, and only two jobs are there at once."""
    most = 0
    respond = model.respond

    def counting(body: dict[str, Any]) -> Script:
        nonlocal most
        most = max(most, sum(not seen.finished for seen in model.seen))
        return respond(body)

    model.respond = counting
    prompts = [f"slow and bounded {mapped.__name__} {number}" for number in range(8)]
    assert len(mapped("generate", prompts, window=2)) == 8
    assert 1 <= most <= 2


@FACES
def test_cached_answers_come_too(mapped: Mapped) -> None:
    """They are there when the call returns."""
    prompts = ["asked before"] * 5
    mapped("generate", prompts[:1])
    origins = [answer.origin for answer in mapped("generate", prompts)]
    assert origins == ["cached"] * 5


@FACES
def test_no_items_are_no_answers(mapped: Mapped) -> None:
    """The loop ends at once."""
    assert mapped("generate", []) == []


@FACES
def test_what_the_callers_iterator_raises_is_raised(mapped: Mapped) -> None:
    """A broken source is the caller's own."""

    def items() -> Iterator[str]:
        yield f"before {mapped.__name__}"
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        mapped("generate", items())


def test_a_source_that_is_cancelled_ends_the_loop() -> None:
    """A task inside it may have been cancelled by somebody else; nobody waits in vain."""

    async def items() -> AsyncIterator[str]:
        yield "before the cancel"
        raise asyncio.CancelledError

    async def run() -> None:
        async with AsyncClient() as client, asyncio.timeout(20):
            async for _ in client.map("generate", items()):
                pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_who_stops_early_leaves_the_items_unread(shared_redis: redis.Redis) -> None:
    """No more is read or submitted than the window, and nothing listens any more."""
    read = []

    def items() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield f"stopped early {number}"

    answers = Client().map("generate", items(), window=3)
    assert next(answers).text == "<stopped early 0>"  # type: ignore[union-attr]
    answers.close()  # type: ignore[attr-defined]
    assert len(read) <= 3 * 4
    wait_until(
        lambda: not shared_redis.pubsub_channels(f"{KEYS.result_channel}*"), "all is unsubscribed"
    )


def test_a_task_that_stops_early_leaves_the_items_unread(shared_redis: redis.Redis) -> None:
    """Also when it is cancelled in the middle of a wait; the reader of its items ends with it."""
    closed = []

    async def items() -> AsyncIterator[str]:
        try:
            for number in itertools.count():
                yield f"endless, then cancelled {number}"
        finally:
            closed.append(True)

    async def run() -> None:
        async with AsyncClient() as client:

            async def consume() -> None:
                async for _ in client.map("generate", items(), window=2, cache=False):
                    pytest.fail("an endless job has no answer")

            task = asyncio.create_task(consume())
            while len(waiting := shared_redis.pubsub_channels(f"{KEYS.result_channel}*")) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not [one for one in asyncio.all_tasks() if "read_all" in repr(one)]
            for channel in waiting:
                await client.job(channel.removeprefix(KEYS.result_channel)).cancel()

    asyncio.run(run())
    assert closed == [True]
    wait_until(
        lambda: not shared_redis.pubsub_channels(f"{KEYS.result_channel}*"), "all is unsubscribed"
    )


def test_an_answer_does_not_wait_for_the_next_item() -> None:
    """A source may have no more items until its consumer has dealt with the last."""

    async def run() -> list[str]:
        more = asyncio.Event()

        async def items() -> AsyncIterator[str]:
            yield "one at a time 0"
            await more.wait()
            yield "one at a time 1"

        texts = []
        async with AsyncClient() as client, asyncio.timeout(20):
            async for answer in client.map("generate", items()):
                texts.append(answer.text)  # type: ignore[union-attr]
                more.set()
        return texts

    assert asyncio.run(run()) == ["<one at a time 0>", "<one at a time 1>"]


@FACES
@pytest.mark.parametrize("error", [QueueFull, BrokerUnreachable])
def test_a_call_that_cannot_be_queued_now_is_tried_again(
    mapped: Mapped, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue and a Redis that restarts are waited for; the order holds."""
    submitting, calls = bulk.submitting, itertools.count()

    def refusing(*args: Any) -> Any:
        if next(calls) in (1, 2):
            raise error("not now")
        return (yield from submitting(*args))

    monkeypatch.setattr(bulk, "submitting", refusing)
    monkeypatch.setattr(bulk, "AGAIN_SECONDS", 0.01)
    prompts = [f"again {mapped.__name__} {error.__name__} {number}" for number in range(4)]
    answers = mapped("generate", prompts)
    assert [answer.text for answer in answers] == [f"<{prompt}>" for prompt in prompts]


@FACES
def test_a_redis_that_was_away_from_the_start_is_raised(
    mapped: Mapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop without any success would only hide a wrong address."""

    def refusing(*_: Any) -> Any:
        raise BrokerUnreachable("away")
        yield

    monkeypatch.setattr(bulk, "submitting", refusing)
    with pytest.raises(BrokerUnreachable):
        mapped("generate", ["a"])


@FACES
@pytest.mark.parametrize("times", [1, 3])
def test_an_item_whose_job_redis_has_lost_is_submitted_again(
    mapped: Mapped, times: int, shared_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Redis that was killed loses its last second; in the end it is a failure."""
    monkeypatch.setattr(bulk, "GONE_SECONDS", 0.0)
    submitting, calls = bulk.submitting, itertools.count()

    def losing(site: Any, ask: Any) -> Any:
        if next(calls) < times:
            # Its model is not there, so no worker takes it.
            ask = replace(ask, arguments={**ask.arguments, "model": "elsewhere:1b"})
            job = yield from submitting(site, ask)
            shared_redis.delete(KEYS.job(job.task_id))
            return job
        return (yield from submitting(site, ask))

    monkeypatch.setattr(bulk, "submitting", losing)
    (found,) = mapped("generate", [f"lost {times} times, {mapped.__name__}"])
    assert isinstance(found, NotFound if times == 3 else GenerateAnswer)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_wrong_call_is_refused_before_anything_is_read(client: Any) -> None:
    """Not at the first answer, but where the mistake stands."""

    def items() -> Iterator[str]:
        pytest.fail("was read")
        yield ""

    for wrong in ({"window": 0}, {"task_id": "a"}, {"max_token": 1}):
        with pytest.raises(InvalidRequest):
            client().map("generate", items(), **wrong)
    with pytest.raises(InvalidRequest, match="kind"):
        client().map("translate", items())
