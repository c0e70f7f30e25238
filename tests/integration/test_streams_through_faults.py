"""A stream outlives its worker, its Redis and its connection: no character is lost or repeated."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import AsyncClient, Client
from local_llm_service.producers.asks import Ask
from local_llm_service.producers.client import ProcessSite
from local_llm_service.producers.job_core import JobCore, JobFacts, submitting
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.listening.thread_listener import ThreadListener
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import NO_CACHE, Lifetimes
from local_llm_service.worker.store.store import Store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker

Events = list[StreamEvent[Any]]


def text_of(events: Events) -> str:
    """What a person sees who reads along: all since the last restart."""
    text = ""
    for event in events:
        text = "" if event.type == "restart" else text + event.text
    return text


def types(events: Events) -> list[str]:
    """The kinds of event, each once in a row."""
    return [e.type for n, e in enumerate(events) if n == 0 or events[n - 1].type != e.type]


def test_a_job_that_runs_again_elsewhere_begins_anew(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """Its worker was killed half-way: readers are told to throw away what it wrote."""
    ollama.respond = lambda _: Script(("There ", "was "), pause_seconds=0.02, end="hang")
    killed = start_worker(LEASE_SECONDS="3")
    job = Client().generate("a tale", stream=True)
    stream = job.stream()
    events = [next(stream)]
    ollama.respond = lambda _: Script(("Once ", "upon ", "a time"), pause_seconds=0.02)
    start_worker(LEASE_SECONDS="3")
    killed.kill()
    events += stream
    assert types(events) == ["text", "restart", "text", "end"]
    assert text_of(events) == "Once upon a time"


# --- Redis is restarted -----------------------------------------------------------------------


class Elsewhere(ProcessSite):
    """A client's site on another Redis than this process's."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """See ProcessSite."""
        return self._url

    @cached_property
    def _store(self) -> Store:
        return Store(connect(self._url), Lifetimes(60, 60, 60), NO_CACHE)

    @property
    def moves(self) -> Moves:
        """See ProcessSite."""
        return self._store.jobs.moves

    @property
    def eviction(self) -> EvictionCheck:
        """See ProcessSite."""
        return EvictionCheck()

    @cached_property
    def listener(self) -> ThreadListener:  # type: ignore[override]
        """See ProcessSite."""
        return ThreadListener(self._url, self._store.keys)

    def drive(self, calls: Calls[Any]) -> Any:
        """See ProcessSite."""
        return self._store.drive(calls)

    def generate(self, prompt: str) -> str:
        """Submit a job whose text is to be read; its id."""
        arguments, options = {"prompt": prompt}, {"stream": True}
        ask = Ask("generate", GenerateAnswer, arguments, options)
        return self.drive(submitting(self, ask)).task_id

    def read(self, task_id: str, on_event: Callable[[int], None]) -> Events:
        """All events of a job; `on_event` is told how many there are by now."""
        events: Events = []
        stream = JobCore(self, JobFacts(task_id, GenerateAnswer)).stream()
        with self.listener.hear(stream.channels) as ear:
            while not stream.has_ended:
                events += self.drive(stream.next_events(ear))
                on_event(len(events))
        return events


@pytest.fixture
def restartable(tmp_path: Path, ollama: FakeOllama) -> Iterator[tuple[RedisProcess, Elsewhere]]:
    """A Redis of the test's own that keeps its data, with a worker."""
    with RedisProcess(tmp_path, appendonly=True) as server:
        environment = {"REDIS_URL": server.url, "OLLAMA_HOST": ollama.host}
        with WorkerProcess({**environment, "MODEL_NAME": "fake:1b"}):
            yield server, Elsewhere(server.url)


def test_a_redis_that_restarts_costs_no_character(
    restartable: tuple[RedisProcess, Elsewhere], ollama: FakeOllama
) -> None:
    """Killed while a text is written: what its last second had is written again."""
    server, site = restartable
    pieces = tuple(f"pïece {number} " for number in range(60))
    ollama.respond = lambda _: Script(pieces, pause_seconds=0.05)
    task_id = site.generate("a tale")
    some_came, reading = threading.Event(), []

    def read() -> None:
        reading.append(site.read(task_id, lambda count: count >= 5 and some_came.set()))

    thread = threading.Thread(target=read)
    thread.start()
    assert some_came.wait(20)
    server.kill()
    server.start()
    thread.join(30)
    [events] = reading
    assert text_of(events) == "".join(pieces)
    assert events[-1].type == "end"
    assert text_of(site.read(task_id, lambda _: None)) == "".join(pieces)


def test_a_full_redis_costs_readers_time_and_the_job_nothing(
    restartable: tuple[RedisProcess, Elsewhere], ollama: FakeOllama
) -> None:
    """It takes no more text: what is missing comes with the answer, at the end."""
    server, site = restartable
    pieces = tuple(f"pïece {number} " for number in range(30))
    ollama.respond = lambda _: Script(pieces, pause_seconds=0.05)
    task_id = site.generate("a tale")
    administrator = connect(server.url)

    def fill(count: int) -> None:
        if count == 2:
            administrator.config_set("maxmemory", "1")

    events = site.read(task_id, fill)
    assert types(events) == ["text", "end"]
    assert text_of(events) == "".join(pieces)
    assert len(events) < 10, "most of it came in one piece"


# --- many readers -----------------------------------------------------------------------------

JOBS, READERS = 10, 1000
WORDS = ("né ", "𝔞 ", "e\u0301", "👩🏽‍🚀", "x", " \n", "long word ")


def test_a_thousand_readers_share_one_connection(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """They come early and late, leave and come back with an offset, and connections break."""
    chance = random.Random(10)
    texts = {f"tale {n}.": tuple(chance.choices(WORDS, k=50)) for n in range(JOBS)}

    def respond(body: dict[str, Any]) -> Script:
        asked = body["messages"][-1]["content"]
        pieces = next(pieces for name, pieces in texts.items() if name in asked)
        return Script(pieces, pause_seconds=0.03)

    ollama.respond = respond
    start_worker(CONCURRENCY="5")
    threads = threading.active_count()
    most_ears = asyncio.run(read_all(texts, redis_client))
    assert most_ears == 1
    assert threading.active_count() == threads


async def read_all(texts: dict[str, tuple[str, ...]], watched: redis.Redis) -> int:
    """Read each text many times; returns the most connections that listened at one moment."""
    async with AsyncClient() as client:
        jobs = {name: await client.generate(name, stream=True) for name in texts}
        names = [name for name in texts for _ in range(READERS // JOBS)]
        tasks = [
            asyncio.create_task(read_one(client, jobs[name].id, n)) for n, name in enumerate(names)
        ]
        ears = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.3)
            # A worker's heartbeat listens, too, to its two channels.
            ears = max(ears, sum(int(one["sub"]) > 2 for one in watched.client_list()))
            watched.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        for name, task in zip(names, tasks, strict=True):
            assert task.result() == "".join(texts[name])
        return ears


async def read_one(client: AsyncClient, task_id: str, number: int) -> str:
    """Read one text, and come back as often as chance wills; returns what was seen."""
    chance, seen, offset = random.Random(number), "", None
    await asyncio.sleep(chance.choice((0, 0, 0.5, 1, 2)))
    while True:
        stream = client.job(task_id).stream(offset)
        leaves_after = chance.choice((1, 2, 5, 1000))
        async for event in stream:
            seen = "" if event.type == "restart" else seen + event.text
            offset, leaves_after = event.offset, leaves_after - 1
            if event.type == "end":
                return seen
            if leaves_after == 0:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(chance.random() / 10)


def test_nobody_listens_for_streams_that_are_over(
    start_worker: StartWorker, ollama: FakeOllama, redis_client: redis.Redis
) -> None:
    """Whoever was cancelled in the middle leaves nothing behind."""
    ollama.respond = lambda _: Script(("Once ",), end="hang")
    start_worker(CONCURRENCY="2")

    async def leave() -> None:
        async with AsyncClient() as client:
            job = await client.generate("a tale", stream=True)

            began = asyncio.Semaphore(0)

            async def read() -> None:
                async for _ in job.stream():
                    began.release()

            readers = [asyncio.create_task(read()) for _ in range(50)]
            for _ in readers:
                await began.acquire()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            assert client.here().listener._interests.are_none
            await job.cancel()

    asyncio.run(leave())
    wait_until(
        lambda: not redis_client.pubsub_channels("*text.*"), "no channel of a text has a listener"
    )
