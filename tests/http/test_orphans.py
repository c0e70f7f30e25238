"""A job whose caller has gone away goes on for ORPHAN_SECONDS, and no longer."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from local_llm_service.producers import status
from local_llm_service.producers.http import holding
from local_llm_service.producers.http.app import make_app
from local_llm_service.producers.http.attendance import Attendance
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store import attendance as moves
from local_llm_service.worker.store.states import JobState, Lifetimes
from local_llm_service.worker.store.store import Store, process_store
from tests.conftest import wait_until
from tests.http.conftest import HttpSite

ORPHAN_SECONDS = 0.4

short = pytest.mark.local_llm(settings={"orphan_seconds": ORPHAN_SECONDS})


@contextmanager
def waiting(http: HttpSite, prompt: str) -> Iterator[socket.socket]:
    """A caller that reads no reply; its connection ends with the block."""
    body = json.dumps({"prompt": prompt}).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(http.url.rpartition(":")[2]))) as sock:
        sock.sendall(head.encode() + body)
        yield sock


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths, for what is said, and for how long silence is borne."""
    monkeypatch.setattr(holding, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(moves, "SHORTEST_SPEAK_SECONDS", 0.5)
    monkeypatch.setattr(moves, "LONGEST_GAP_SECONDS", 0.3)


@short
def test_a_job_that_nobody_wants_any_more_ends(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "FIND_AGAIN_SECONDS", 0.1)
    with local_llm.held():
        with waiting(http, "a"):
            local_llm.wait_until_asked()
        left_at = time.monotonic()
        [job] = local_llm.submitted
        wait_until(lambda: status(job.id) is JobState.CANCELLED, "it is cancelled")
        assert time.monotonic() - left_at >= ORPHAN_SECONDS
    store = process_store()
    wait_until(lambda: not store.client.zcard(store.keys.orphans), "nothing is left of it")


@short
@pytest.mark.usefixtures("quick")
def test_a_caller_that_waits_keeps_its_job(http: HttpSite, local_llm: LocalLLM) -> None:
    """However long the answer takes."""
    with ThreadPoolExecutor() as pool:
        with local_llm.held():
            waits = pool.submit(http.post, "/generate", json={"prompt": "a"})
            local_llm.wait_until_asked()
            time.sleep(0.9)  # what must not happen has that long to happen
        assert waits.result(10).status_code == 200
    store = process_store()
    wait_until(lambda: not store.client.zcard(store.keys.attended), "it is attended no more")


@short
def test_a_retry_joins_its_own_question(http: HttpSite, local_llm: LocalLLM) -> None:
    """20 callers of one question, each with three POSTs, as their clients time out: one answer."""
    callers, timed_out = 20, threading.Barrier(20)
    third, body = threading.Semaphore(0), {"prompt": "one"}

    def ask(_: int) -> str:
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                http.post("/generate", json=body, timeout=httpx.Timeout(20, read=0.25))
        timed_out.wait(20)
        third.release()
        return str(http.post("/generate", json=body).json()["text"])

    with ThreadPoolExecutor(callers) as pool:
        with local_llm.reply("The answer.").held():
            answers = [pool.submit(ask, number) for number in range(callers)]
            for _ in range(callers):
                assert third.acquire(timeout=20)
            wait_until(lambda: _waiting(local_llm) == callers, "all wait, and nobody twice")
        assert {one.result(20) for one in answers} == {"The answer."}
    assert len(local_llm.prompts) == 1


def _waiting(local_llm: LocalLLM) -> int:
    return sum(one.state is not JobState.CANCELLED for one in local_llm.submitted)


@short
@pytest.mark.usefixtures("quick")
def test_a_process_that_died_leaves_its_jobs(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews nothing any more. One that lives after all tells its caller to try again."""
    with ThreadPoolExecutor() as pool, local_llm.held():
        waits = pool.submit(http.post, "/generate", json={"prompt": "a"})
        local_llm.wait_until_asked()
        [job] = local_llm.submitted
        wait_until(lambda: process_store().client.zcard(process_store().keys.attended), "attended")
        with monkeypatch.context() as patch:
            patch.setattr(Attendance, "send", _unreachable)
            wait_until(lambda: status(job.id) is JobState.CANCELLED, "workers found out")
            reply = waits.result(10)
        assert (reply.status_code, reply.headers["x-should-retry"]) == (503, "true")


async def _unreachable(*_: object, **__: object) -> None:
    raise BrokerUnreachable("not from here")


@short
@pytest.mark.usefixtures("quick")
def test_redis_was_away_for_everybody(http: HttpSite, local_llm: LocalLLM) -> None:
    """Nobody could speak: no job ends for that."""
    with ThreadPoolExecutor() as pool:
        with local_llm.held():
            waits = pool.submit(http.post, "/generate", json={"prompt": "a"})
            local_llm.wait_until_asked()
            [job] = local_llm.submitted
            with local_llm.redis_away():
                time.sleep(0.8)  # more than any silence that is borne
            time.sleep(0.6)  # Redis is back, and what must not happen has that long to happen
            assert status(job.id) is JobState.RUNNING
        assert waits.result(10).status_code == 200


def test_silence_counts_only_while_somebody_listened(local_llm: LocalLLM) -> None:
    """The first look after a gap is no proof: each process gets its time to speak. This store is
    one that no worker looks at."""
    here = process_store()
    store = Store(here.client, Lifetimes(60, 60, 60), prefix="{other}:")
    attendance = moves.Attendance(store.keys)
    store.client.hset(store.keys.job("a"), "state", "running")
    store.client.zadd(store.keys.attended, {"a": 1})

    def looks() -> tuple[int, list[str]]:
        return store.drive(attendance.orphans(0.1, 9))

    assert looks() == looks() == (0, [])
    store.client.hset(store.keys.attendance, "since", 1)
    assert looks() == (1, ["a"])
    assert looks() == (0, []), "it is found again only after a pause"
    store.client.hset(store.keys.attendance, "last", 1)
    store.client.zadd(store.keys.attended, {"a": 1})
    assert looks() == (0, []), "a gap"
    store.drive(attendance.leave_jobs(["a"], 0))
    assert looks() == (1, ["a"]), "its caller said so"
    store.client.hset(store.keys.job("a"), "settled", "1")
    store.client.zadd(store.keys.orphans, {"a": 1, "forgotten": 1})
    assert looks() == (2, [])
    assert not store.client.exists(store.keys.orphans, store.keys.attended)


def test_one_reader_leaves_and_another_stays(local_llm: LocalLLM) -> None:
    """At another process, which knows nothing of the first: whoever still says that it is there
    keeps the job."""
    here = process_store()
    store = Store(here.client, Lifetimes(60, 60, 60), prefix="{other}:")
    attendance = moves.Attendance(store.keys)
    store.client.hset(store.keys.job("a"), "state", "running")
    store.drive(attendance.attend(["a"], 10))
    store.drive(attendance.leave_jobs(["a"], 0))
    store.drive(attendance.attend(["a"], 10))
    assert store.drive(attendance.orphans(10, 9)) == (0, [])
    store.drive(attendance.leave_jobs(["a"], 0))
    assert store.drive(attendance.orphans(10, 9)) == (1, ["a"]), "the last one has left"


def test_a_process_that_ends_says_its_last_word(local_llm: LocalLLM) -> None:
    """Else workers would take it for dead, and cancel what it has told its callers to go on."""
    store = process_store()

    async def main() -> float | None:
        service = make_app().service
        saying = asyncio.create_task(holding.hold_on(service))
        await asyncio.sleep(0)
        service.attendance.begin("a")
        while store.client.zscore(store.keys.attended, "a") is None:
            await asyncio.sleep(0.01)
        service.attendance.end("a")
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        await service.close()
        return store.client.zscore(store.keys.attended, "a")

    assert asyncio.run(main()) is None
