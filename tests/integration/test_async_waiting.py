"""Awaiting results: a Redis that restarts, a lost message, loops and processes that come and go."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
import redis

from local_llm_service import AsyncClient
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import NotReady
from local_llm_service.worker.listening import link
from local_llm_service.worker.store.keys import Keys
from tests.integration.conftest import run_python
from tests.integration.test_redis_away import in_a_producer

KEYS = Keys()


def store(task_id: str, text: str) -> None:
    """Store an answer as a worker does."""
    timings = {f"{word}_seconds": 0.0 for word in ("queued", "load", "prompt", "generation")}
    answer = {
        "task_id": task_id,
        "kind": "generate",
        "model": "m",
        "origin": "computed",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "timings": timings,
        "text": text,
    }
    app.backend._store_result(task_id, answer, "SUCCESS")


def exists(client: redis.Redis, *ids: str) -> None:
    """Let Redis know jobs that run."""
    for task_id in ids:
        client.hset(KEYS.job(task_id), "state", "running")
        client.expire(KEYS.job(task_id), 60)


async def until(condition: Any, what: str) -> None:
    """Wait in an event loop, without holding it up."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def listened(client: redis.Redis) -> set[str]:
    """The jobs that somebody listens for."""
    return {one.removeprefix(KEYS.result_channel) for one in client.pubsub_channels()}


RESTART = """
import asyncio
from local_llm_service import AsyncClient
ids = [f"job-{number}" for number in range(50)]

def known():
    for one in ids:
        client.hset(keys.job(one), "state", "running")

async def main():
    known()
    async with AsyncClient() as ours:
        waits = [asyncio.create_task(ours.job(one).result(90 if n % 2 else None))
                 for n, one in enumerate(ids)]
        await asyncio.to_thread(until, lambda: all_listen(ids))
        for end_it in (server.kill, server.stop):
            await asyncio.to_thread(end_it)
            await asyncio.sleep(1.2)
            await asyncio.to_thread(server.start)
            known()
            await asyncio.to_thread(until, lambda: all_listen(ids))
        for one in ids[:25]:
            answer(one)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        for one in ids[25:]:
            answer(one)
        print(json.dumps([one.text for one in await asyncio.gather(*waits)]))

asyncio.run(main())
server.stop()
"""


def test_fifty_awaits_outlive_a_redis_that_restarts() -> None:
    """Killed and stopped; also what was stored just before it went."""
    assert in_a_producer(RESTART) == [f"for job-{number}" for number in range(50)]


def test_a_result_whose_message_was_lost_is_found(redis_client: redis.Redis) -> None:
    """A message is a hint only: results are also read every few seconds."""
    exists(redis_client, "quiet")

    async def main() -> str:
        async with AsyncClient() as client:
            wait = asyncio.create_task(client.job("quiet").result(60))
            await until(lambda: listened(redis_client) == {"quiet"}, "it listens")
            store("loud", "fine")
            redis_client.copy(KEYS.result("loud"), KEYS.result("quiet"))
            return str((await wait).text)

    assert asyncio.run(main()) == "fine"


def test_what_is_stored_between_the_call_and_the_first_look_is_found(
    redis_client: redis.Redis,
) -> None:
    """A result that is there, with any timeout."""
    store("there", "fine")

    async def main() -> list[str]:
        async with AsyncClient() as client:
            return [(await client.job("there").result(t)).text for t in (0, 0.01, 60, None)]

    assert asyncio.run(main()) == ["fine"] * 4


def test_thousands_of_waits_that_end_in_time_or_are_cancelled_leave_nothing(
    redis_client: redis.Redis,
) -> None:
    """No channel, no wait, no task."""
    exists(redis_client, "slow")

    async def short(client: AsyncClient, number: int) -> type[BaseException]:
        job = client.job("slow")
        try:
            if number % 2:
                await job.result(0.05)
            else:
                await asyncio.wait_for(job.result(), 0.05)
        except TimeoutError as error:
            return type(error)
        raise AssertionError("there is a result")

    async def main() -> set[type[BaseException]]:
        async with AsyncClient() as client:
            ended = set()
            for _ in range(4):
                ended |= set(await asyncio.gather(*(short(client, n) for n in range(1000))))
            listener = client.here().listener
            await until(lambda: not listened(redis_client), "nobody listens")
            assert listener._interests.are_none
            ours = {"local-llm result listener", "local-llm result reader"}
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert {task.get_name() for task in left} <= ours  # type: ignore[union-attr]
            return ended

    assert asyncio.run(main()) == {NotReady, TimeoutError}


def test_closing_a_client_ends_no_wait_and_no_stream(redis_client: redis.Redis) -> None:
    """Other tasks of the loop still use it: they are served over new connections."""
    exists(redis_client, "slow", "told")

    async def read(client: AsyncClient) -> str:
        return "".join([event.text async for event in client.job("told").stream()])

    async def main() -> list[str]:
        client = AsyncClient()
        wait = asyncio.create_task(client.job("slow").result())
        reading = asyncio.create_task(read(client))
        for _ in range(2):
            await until(lambda: {"slow", "told"} <= listened(redis_client), "it listens")
            await client.close()
        for task_id in ("slow", "told"):
            store(task_id, f"for {task_id}")
            redis_client.delete(KEYS.job(task_id))
        async with asyncio.timeout(10):
            return [(await wait).text, await reading]

    assert asyncio.run(main()) == ["for slow", "for told"]


def test_a_listener_that_nobody_needs_ends_and_begins_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no connection for good."""
    exists(redis_client, "one", "two")

    async def main() -> None:
        async with AsyncClient() as client:
            for name in ("one", "two"):
                with pytest.raises(NotReady):
                    await client.job(name).result(0.05)
                listener = client.here().listener
                listener.look_soon()
                await until(lambda here=listener: here._task is None, "it ends")  # type: ignore[misc]

    monkeypatch.setattr(link, "IDLE_SECONDS", 0.0)
    asyncio.run(main())


LOOPS = """
import asyncio, gc, json, os, redis, sys
from local_llm_service import AsyncClient
from local_llm_service.worker.errors import NotReady

there = redis.Redis.from_url(os.environ["REDIS_URL"])
before = len(there.client_list())
client = AsyncClient()

async def use():
    job = await client.generate("hi", cache=False)
    try:
        await job.result(0.1)
    except NotReady:
        pass
    return str(await job.status())

def left():
    gc.collect()
    return len(there.client_list()) - before

found = [asyncio.run(use()), left(), asyncio.run(use()), left()]
for _ in range(2):
    loop = asyncio.new_event_loop()  # as in a notebook, and nothing is shut down
    found.append(loop.run_until_complete(use()))
    loop.close()
found += [asyncio.run(use()), left()]

async def careless():
    client = AsyncClient()
    await client.generate("hi", cache=False)
    del client
    gc.collect()
    await asyncio.sleep(0.05)
    return left()

found.append(asyncio.run(careless()))
loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.close()
print(json.dumps(found))
"""


def test_one_client_serves_one_event_loop_after_the_other(redis_client: redis.Redis) -> None:
    """Without a warning, a destroyed task or a connection that is left, also at the end."""
    done = run_python("-W", "error", "-c", LOOPS)
    assert done.stderr == ""
    assert json.loads(done.stdout) == ["queued", 0, "queued", 0, *["queued"] * 3, 0, 0]


def test_each_thread_has_its_loop_and_its_answers(redis_client: redis.Redis) -> None:
    """One client for all of them."""
    client, found = AsyncClient(), {}
    ids = [f"job-{number}" for number in range(4)]
    exists(redis_client, *ids)

    def run(task_id: str) -> None:
        found[task_id] = asyncio.run(client.job(task_id).result(60)).text

    threads = [threading.Thread(target=run, args=(one,)) for one in ids]
    for thread in threads:
        thread.start()
    for one in reversed(ids):
        store(one, f"for {one}")
    for thread in threads:
        thread.join(30)
    assert found == {one: f"for {one}" for one in ids}


FORK = """
import asyncio, json, os, sys
from local_llm_service import AsyncClient, Client
from local_llm_service.worker.errors import NotReady

clients = [AsyncClient(), Client()]

async def use(name):
    job = await clients[0].generate("hi", cache=False, task_id=name)
    try:
        await job.result(0.2)
    except NotReady:
        return str(await job.status())

def block(name):
    job = clients[1].generate("hi", cache=False, task_id=name)
    try:
        job.result(0.2)
    except NotReady:
        return str(job.status())

async def main():
    # The fork happens in a loop that has connections, and both sides go on.
    found = [await use("before"), block("b before")]
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        code = 1
        try:
            said = [asyncio.run(use("child")), block("b child"), asyncio.run(use("child 2"))]
            code = 0 if said == ["queued"] * 3 else 1
        finally:
            os._exit(code)
    found += [await use("after"), block("b after")]
    await asyncio.sleep(0)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return [*found, os.waitstatus_to_exitcode(status), await use("last")]

print(json.dumps(asyncio.run(main())))
"""


def test_a_client_made_before_a_fork_works_on_both_sides(redis_client: redis.Redis) -> None:
    """The child has connections of its own, and leaves the parent's alone."""
    done = run_python("-W", "ignore::DeprecationWarning", "-c", FORK)
    assert done.stderr == ""
    assert json.loads(done.stdout) == ["queued"] * 4 + [0, "queued"]
