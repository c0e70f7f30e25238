"""How much an API key may have: requests in a time, jobs at once, open streams."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from starlette.responses import Response

from local_llm_service.producers import status
from local_llm_service.producers.http import app, holding
from local_llm_service.producers.http.asking import Asked, submit
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.callers import open_streams
from local_llm_service.producers.http.event_stream import EventStream, sse
from local_llm_service.producers.http.job_stream import stream
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.store.api_keys import id_of
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.api_keys import add_key
from tests.http.conftest import HttpSite


def asked(http: HttpSite, headers: dict[str, str], prompt: str = "a") -> httpx.Response:
    """One question."""
    return http.post("/generate", json={"prompt": prompt}, headers=headers)


@contextmanager
def waiting(http: HttpSite, headers: dict[str, str], prompt: str) -> Iterator[socket.socket]:
    """A caller whose connection is open until the end of the block, which reads no reply."""
    body = json.dumps({"prompt": prompt}).encode()
    given = {**headers, "Host": "127.0.0.1", "Content-Length": str(len(body))}
    lines = ["POST /generate HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
    port = int(http.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        yield sock


def jobs_of(name: str) -> list[str]:
    """The jobs that count for a key."""
    store = process_store()
    return [str(one) for one in store.client.zrange(f"{store.keys.api_jobs}{id_of(name)}", 0, -1)]


def test_a_rate(http: HttpSite) -> None:
    """As many at once as there may be in its time; each request counts, the next key's do not."""
    mine, other = add_key("mine", "--rate", "3/h"), add_key("other")
    wrong = {"Authorization": mine["Authorization"][:-4] + "AAAA"}
    assert [asked(http, wrong).status_code for _ in range(4)] == [401] * 4
    assert http.get("/models", headers=mine).status_code == 200
    assert [asked(http, mine).status_code for _ in range(3)] == [200, 200, 429]
    told = asked(http, mine)
    assert (told.json()["code"], told.headers["x-should-retry"]) == ("rate_limited", "true")
    assert told.headers["Retry-After"] == "120", "20 minutes are more than clients obey"
    assert asked(http, other).status_code == http.get("/health/live").status_code == 200


def test_a_rate_comes_back(http: HttpSite) -> None:
    """After one part of its time there is one request more."""
    mine = add_key("mine", "--rate", "4/s")
    codes = [http.get("/models", headers=mine).status_code for _ in range(5)]
    assert codes[:4] == [200] * 4
    wait_until(lambda: http.get("/models", headers=mine).status_code == 200, "one more")


def test_jobs_at_once(http: HttpSite, local_llm: LocalLLM) -> None:
    """Waiting ones count, too; what has ended, was cached or refused does not."""
    mine, other = add_key("mine", "--concurrency", "2"), add_key("other", "--concurrency", "2")
    assert [asked(http, mine, one).status_code for one in "xxyzx"] == [200] * 5
    assert asked(http, other, "x").status_code == 200
    with ThreadPoolExecutor() as pool, local_llm.held():
        waits = [pool.submit(asked, http, mine, prompt) for prompt in "ab"]
        wait_until(lambda: len(local_llm.submitted) == 6, "both are there")
        refused = asked(http, mine, "c")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert asked(http, mine, "x").status_code == 429, "whatever the cache has"
        assert asked(http, other, "x").status_code == 200
    assert [one.result(10).status_code for one in waits] == [200, 200]
    assert asked(http, mine, "c").status_code == 200


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_a_job_that_did_not_come_does_not_count(http: HttpSite, local_llm: LocalLLM) -> None:
    """Invalid, or its queue was full."""
    mine, other = add_key("mine", "--concurrency", "1"), add_key("other")
    with ThreadPoolExecutor() as pool, local_llm.held():
        assert asked(http, mine, "").status_code == 400
        assert jobs_of("mine") == []
        waits = pool.submit(asked, http, other, "a")
        local_llm.wait_until_asked()
        full = asked(http, mine, "b")
        assert full.json()["code"] == "queue_full"
        assert jobs_of("mine") == []
    assert waits.result(10).status_code == 200


@pytest.mark.local_llm(settings={"orphan_seconds": 60})
def test_a_caller_that_went_away_does_not_hold_up_itself(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """Its next job takes the place of the one that nobody waits for; the same question goes on."""
    mine = add_key("mine", "--concurrency", "1")
    with ThreadPoolExecutor() as pool, local_llm.held():
        with waiting(http, mine, "same"):
            local_llm.wait_until_asked()
            assert asked(http, mine, "same").status_code == 429
        [left] = local_llm.submitted
        retried = pool.submit(_until_free, http, mine, "same")
        wait_until(lambda: status(left.id) is JobState.CANCELLED, "its place is taken")
        wait_until(lambda: len(local_llm.submitted) == 2, "the retry is there")
    assert retried.result(10).json()["origin"] == "joined"
    assert len(local_llm.prompts) == 1


@pytest.mark.local_llm(settings={"orphan_seconds": 60})
def test_going_away_buys_no_second_generation(http: HttpSite, local_llm: LocalLLM) -> None:
    """Another question ends the one that was left."""
    mine = add_key("mine", "--concurrency", "1")
    with ThreadPoolExecutor() as pool, local_llm.held():
        with waiting(http, mine, "one"):
            local_llm.wait_until_asked()
        [left] = local_llm.submitted
        retried = pool.submit(_until_free, http, mine, "two")
        wait_until(lambda: status(left.id) is JobState.CANCELLED, "its place is taken")
    assert retried.result(10).status_code == 200
    assert jobs_of("mine") == [local_llm.submitted[-1].id]


def _until_free(http: HttpSite, headers: dict[str, str], prompt: str) -> httpx.Response:
    return wait_until(
        lambda: (reply := asked(http, headers, prompt)).status_code != 429 and reply,
        "there is a place",
    )


# --- streams --------------------------------------------------------------------------------


async def _ticks(call: Call) -> Response:
    """A stream that never ends by itself."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield sse("tick")
            await asyncio.sleep(0.02)

    return EventStream(call, pieces())


async def _text(call: Call) -> Response:
    """A job's text."""
    found = await stream(call, Asked("generate", {"prompt": "told"}))

    async def pieces() -> AsyncIterator[bytes]:
        async for event in found.events:
            yield sse(event.text or event.type)

    return EventStream(call, pieces())


async def _background(call: Call) -> Response:
    """A job that nobody waits for."""
    job = await submit(call, Asked("generate", {"prompt": "later"}))
    return json_reply({"id": job.id}, 202)


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that only these tests have."""
    more = (
        Operation("GET", "/ticks", _ticks, "A stream", "test"),
        Operation("GET", "/text", _text, "A job's text", "test"),
        Operation("POST", "/background", _background, "A job", "test"),
    )
    monkeypatch.setattr(app, "OPERATIONS", (*app.OPERATIONS, *more))


def refused(http: HttpSite, path: str, headers: dict[str, str]) -> bool:
    """Whether a stream is refused."""
    with http.client.stream("GET", path, headers=headers) as reply:
        return reply.status_code == 429


@pytest.mark.usefixtures("streaming")
@pytest.mark.local_llm(settings={"streams_per_key": 1})
def test_open_streams(http: HttpSite, local_llm: LocalLLM) -> None:
    """STREAMS_PER_KEY, or the key's own; no job is made for a stream too many."""
    mine, more = add_key("mine"), add_key("more", "--streams", "2")
    with (
        http.client.stream("GET", "/ticks", headers=mine) as one,
        http.client.stream("GET", "/ticks", headers=more) as two,
    ):
        assert one.status_code == two.status_code == 200
        assert refused(http, "/ticks", mine)
        assert refused(http, "/text", mine)
        assert not refused(http, "/ticks", more)
    assert local_llm.submitted == []
    wait_until(lambda: not refused(http, "/ticks", mine), "it is closed")
    with http.client.stream("GET", "/text", headers=more) as reply:
        assert reply.read().endswith(b"data: end\n\n")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is said again often."""
    monkeypatch.setattr(open_streams, "STREAM_SECONDS", 0.3)
    monkeypatch.setattr(holding, "RENEW_SECONDS", 0.1)


@pytest.mark.usefixtures("quick", "streaming")
def test_streams_of_a_process_that_died_count_no_more(http: HttpSite) -> None:
    """Those of one that lives are renewed, however long they are open."""
    mine = add_key("mine", "--streams", "2")
    store = process_store()
    streams = f"{store.keys.open_streams}{id_of('mine')}"
    store.client.zadd(streams, {"of-a-dead-process": time.time() * 1000 + 800})
    with http.client.stream("GET", "/ticks", headers=mine):
        assert refused(http, "/ticks", mine)
        [(name, until)] = store.client.zrange(streams, 1, 1, withscores=True)
        wait_until(lambda: not refused(http, "/ticks", mine), "the dead one is forgotten")
        wait_until(lambda: (store.client.zscore(streams, name) or 0) > until, "renewed")


def _always(condition: Callable[[], bool], seconds: float) -> None:
    """What must not happen has that long to happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition()
        time.sleep(0.05)


@pytest.mark.usefixtures("streaming")
@pytest.mark.local_llm(settings={"orphan_seconds": 0.2})
def test_background_jobs_count_and_are_nobodys_orphans(http: HttpSite, local_llm: LocalLLM) -> None:
    mine = add_key("mine", "--concurrency", "1")
    with local_llm.held():
        task_id = http.post("/background", headers=mine).json()["id"]
        assert http.post("/background", headers=mine).status_code == 429
        local_llm.wait_until_asked()
        _always(lambda: status(task_id) is JobState.RUNNING, 0.5)
    wait_until(lambda: status(task_id) is JobState.SUCCEEDED, "it has its answer")
    assert http.post("/background", headers=mine).status_code == 202
