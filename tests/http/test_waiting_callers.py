"""A synchronous caller gets its answer, its job's error, or is told that the process ends."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from local_llm_service.producers import result_wait, status, streaming
from local_llm_service.producers.http.app import BACKGROUND
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.listening import wait
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.conftest import HttpSite

FAILURES = [
    (errors.ModelFailed, 502, "false"),
    (errors.ContextOverflow, 400, "false"),
    (errors.StreamBroken, 502, "false"),
    (errors.EngineTimeout, 504, "false"),
]


@pytest.mark.local_llm(settings={"max_attempts": 1})
@pytest.mark.parametrize(("error", "status_code", "again"), FAILURES)
def test_the_jobs_own_error(
    http: HttpSite,
    local_llm: LocalLLM,
    error: type[errors.ServiceError],
    status_code: int,
    again: str,
) -> None:
    local_llm.fail(error)
    reply = http.post("/generate", json={"prompt": "a"})
    assert reply.status_code == status_code
    assert reply.headers["x-should-retry"] == again
    assert reply.json()["code"] == error.code


@pytest.mark.local_llm(settings={"orphan_seconds": 0.1})
def test_the_callers_patience_is_the_jobs_deadline(http: HttpSite, local_llm: LocalLLM) -> None:
    headers = {"X-Stainless-Read-Timeout": "0.3"}
    with local_llm.held():
        reply = http.post("/generate", json={"prompt": "a"}, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
    local_llm.reply("In time.")
    body = {"prompt": "b", "deadline_seconds": 30}
    assert http.post("/generate", json=body, headers=headers).json()["text"] == "In time."


@pytest.mark.parametrize("patience", ["", "soon", "-1", "nan", "inf", "1e99"])
def test_patience_that_is_none_is_ignored(http: HttpSite, patience: str) -> None:
    headers = {"X-Stainless-Read-Timeout": patience}
    assert http.post("/generate", json={"prompt": "a"}, headers=headers).status_code == 200


def test_a_process_that_ends_says_so_and_the_job_goes_on(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    with local_llm.held(), ThreadPoolExecutor() as pool:
        waits = pool.submit(http.post, "/generate", json={"prompt": "a"})
        local_llm.wait_until_asked()
        http.app.service.stopping.set()  # as SIGTERM does
        reply = waits.result(10)
    assert (reply.status_code, reply.json()["code"]) == (503, "shutting_down")
    assert reply.headers["Retry-After"] == "1"
    [job] = local_llm.submitted
    assert job.id in reply.json()["detail"]
    wait_until(lambda: status(job.id) is JobState.SUCCEEDED, "the job goes on")


def test_a_caller_that_goes_away_leaves_no_task_behind(http: HttpSite, local_llm: LocalLLM) -> None:
    http.post("/generate", json={"prompt": "first"})  # what stays is there
    http.client.close()
    [state] = http.app.service.client._states.values()

    def tasks() -> int:
        return len(asyncio.all_tasks(state.loop))

    wait_until(lambda: tasks() <= 5 + len(BACKGROUND), "the first caller's connection is closed")
    before = tasks()
    with local_llm.held():
        with _connected(http) as sock:
            sock.sendall(_request("/generate", json.dumps({"prompt": "a"}).encode()))
            local_llm.wait_until_asked(2)
            assert tasks() > before
        wait_until(lambda: tasks() <= before, "its tasks have ended")


def _connected(http: HttpSite) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(http.url.rpartition(":")[2])))


def _request(path: str, body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_job_that_was_lost_is_to_be_sent_again(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its Redis, which keeps nothing: 404 would say that the caller has asked for something
    that there is not. A stream says the same."""
    for place in (result_wait, streaming, wait):
        monkeypatch.setattr(place, "GONE_SECONDS", 0.2)
    asked = {"model": "scripted:1b", "stream": True}
    bodies = {
        "/generate": {"prompt": "a"},
        "/v1/chat/completions": {**asked, "messages": [{"role": "user", "content": "b"}]},
        "/v1/responses": {**asked, "input": "c"},
    }
    with ThreadPoolExecutor() as pool, local_llm.held():
        waits = [pool.submit(http.post, path, json=body) for path, body in bodies.items()]
        wait_until(lambda: len(local_llm.submitted) == len(bodies), "all are queued")
        store = process_store()
        store.client.delete(*(store.keys.job(job.id) for job in local_llm.submitted))
        replies = [one.result(10) for one in waits]
    assert (replies[0].status_code, replies[0].headers["x-should-retry"]) == (503, "true")
    assert all('"code":"broker_unreachable"' in one.text for one in replies)
