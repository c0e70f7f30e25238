"""Jobs as resources: submitted, found again, followed from any place, cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local_llm_service.producers.http import job_news
from local_llm_service.producers.http.job_news import FIRST_PAUSE_SECONDS
from local_llm_service.producers.http.jobs import submitting
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import BrokerUnreachable, ContextOverflow
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.conftest import HttpSite, break_off, tell_tenants_by_header

HELLO = {"kind": "generate", "args": {"prompt": "Hello?"}}


def submitted(http: HttpSite, **more: Any) -> str:
    """The id of a new job whose text can be read."""
    reply = http.post("/v1/jobs", json={**HELLO, "stream": True, "cache": False, **more})
    assert reply.status_code == 202
    return str(reply.json()["id"])


def events_of(
    http: HttpSite, task_id: str, last_id: str | None = None, **query: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, id, data) of each event of a connection."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    path = f"/v1/jobs/{task_id}/events"
    with http.client.stream("GET", path, headers=headers, params=query) as reply:
        assert reply.status_code == 200, reply.read()
        event: dict[str, str] = {}
        for line in reply.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "data" in event:
                yield event["event"], event.get("id", ""), json.loads(event["data"])
                event = {}


def text_of(events: list[tuple[str, str, dict[str, Any]]]) -> str:
    """What a reader has: a restart throws away what came before."""
    text = ""
    for name, _, data in events:
        text = "" if name == "restart" else text + data.get("text", "")
    return text


def test_a_job_is_submitted_and_found_under_its_location(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    with local_llm.reply("Hello.").held():
        reply = http.post("/v1/jobs", json={**HELLO, "priority": "low"})
        assert reply.status_code == 202
        assert reply.headers["Retry-After"] == "1"
        found = reply.json()
        assert (found["kind"], found["queue"]) == ("generate", "llm.low")
        assert reply.headers["Location"] == f"/v1/jobs/{found['id']}"
        local_llm.wait_until_asked()
        meanwhile = http.get(reply.headers["Location"])
        assert (meanwhile.status_code, meanwhile.json()["status"]) == (200, "running")
        assert meanwhile.headers["Retry-After"] == "1"
        assert meanwhile.json()["progress"] == {"done": 0, "total": 1, "phase": "running"}
    ended = http.get(reply.headers["Location"], params={})
    wait_until(lambda: http.get(f"/v1/jobs/{found['id']}").json()["status"] == "succeeded", "ended")
    ended = http.get(f"/v1/jobs/{found['id']}")
    assert "Retry-After" not in ended.headers
    assert ended.json()["answer"]["text"] == "Hello."
    assert ended.json()["submitted_at"] < ended.json()["deadline_at"]
    explained = http.get(f"/v1/jobs/{found['id']}/explain").json()
    assert explained == {"id": found["id"], "status": "succeeded", "reason": None}


def test_preferences_say_how_long_a_reply_waits(http: HttpSite, local_llm: LocalLLM) -> None:
    """What the cache has comes at once, whatever is preferred."""
    local_llm.delay(0.1).reply("Hello.")
    waited = http.post("/v1/jobs", json=HELLO, headers={"Prefer": "wait=20"})
    assert (waited.status_code, waited.json()["answer"]["text"]) == (200, "Hello.")
    assert waited.headers["Preference-Applied"] == "wait=20"
    cached = http.post("/v1/jobs", json=HELLO, headers={"Prefer": "respond-async"})
    assert (cached.status_code, cached.json()["answer"]["origin"]) == (200, "cached")
    assert "Preference-Applied" not in cached.headers
    with local_llm.held():
        other = {"kind": "generate", "args": {"prompt": "Another?"}}
        prefer = {"Prefer": "respond-async, wait=1"}
        pending = http.post("/v1/jobs", json=other, headers=prefer)
        assert (pending.status_code, pending.headers["Preference-Applied"]) == (
            202,
            "respond-async, wait=1",
        )
        first = http.post(
            "/generate", json={"prompt": "Third?"}, headers={"Prefer": "respond-async"}
        )
        assert (first.status_code, first.headers["Preference-Applied"]) == (202, "respond-async")
    place = first.headers["Location"]
    wait_until(lambda: http.get(place).json()["status"] == "succeeded", "the job has ended")
    prefer = {"Prefer": "respond-async"}
    again = http.post("/generate", json={"prompt": "Third?"}, headers=prefer)
    assert (again.status_code, again.json()["text"]) == (200, "Echo: Third?.")


def test_an_idempotency_key_stands_for_one_request(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same time, after a failure halfway, quoted or bare; and for no other request."""

    def post(key: str, prompt: str = "Hello?") -> httpx.Response:
        body = {"kind": "generate", "args": {"prompt": prompt}, "cache": False}
        return http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

    with local_llm.held():
        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(post, ['"one"', "one"] * 8))
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.json()["id"] for reply in replies}) == 1
        other = post("one", "Another?")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    wait_until(lambda: post("one").status_code == 200, "the same job has ended")
    assert len(local_llm.prompts) == 1

    real = submitting.submit

    async def dies(*_: Any, **__: Any) -> Any:
        raise BrokerUnreachable("scripted by the test")

    monkeypatch.setattr(submitting, "submit", dies)
    assert post("two").status_code == 503
    monkeypatch.setattr(submitting, "submit", real)
    assert post("two", "Another?").status_code == 422
    assert post("two").status_code in (200, 202)


def test_what_is_no_idempotency_key_is_refused(http: HttpSite) -> None:
    for key in ("", '""', '"a', 'a"b', '"\\x"', "a b", "x" * 201, "\u00e9"):
        headers = {"Idempotency-Key": key.encode("latin-1")}
        reply = http.post("/v1/jobs", json=HELLO, headers=headers)  # type: ignore[arg-type]
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_events_tell_the_progress_of_a_job_of_several_steps(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and also what was noted before the reader came. The resource says the same."""
    monkeypatch.setattr(job_news, "FIRST_PAUSE_SECONDS", 0.02)
    steps: dict[str, Any] = {"done": 3, "total": 12, "phase": "reading"}
    store = process_store()
    with ThreadPoolExecutor(1) as reader, local_llm.held():
        task_id = submitted(http)
        local_llm.wait_until_asked()
        store.scripts.client.hset(store.keys.job(task_id), mapping={**steps})
        assert http.get(f"/v1/jobs/{task_id}").json()["progress"] == steps
        events = events_of(http, task_id)
        assert next(events) == ("status", "", {"status": "running"})
        assert reader.submit(next, events).result(10) == ("progress", "", steps)
        news = reader.submit(next, events)
        with pytest.raises(TimeoutError):
            news.result(0.2)
        store.scripts.client.hset(store.keys.job(task_id), "done", "4")
        assert news.result(10) == ("progress", "", {**steps, "done": 4})
    assert [name for name, _, _ in events][-1] == "done"
    ended = http.get(f"/v1/jobs/{task_id}").json()
    assert ended["progress"] == {"done": 12, "total": 12, "phase": "succeeded"}


def test_events_tell_the_state_the_text_and_the_answer(http: HttpSite, local_llm: LocalLLM) -> None:
    with local_llm.stream("Hel", "lo ", "you.").held():
        task_id = submitted(http)
        local_llm.wait_until_asked()
        events = events_of(http, task_id)
        assert next(events) == ("status", "", {"status": "running"})
    rest = list(events)
    assert {name for name, _, _ in rest[:-1]} == {"text"}
    name, last_id, data = rest[-1]
    assert (name, data["answer"]["text"], text_of(rest)) == ("done", "Hello you.", "Hello you.")
    again = http.get(f"/v1/jobs/{task_id}/events", headers={"Last-Event-ID": last_id})
    assert (again.status_code, again.content) == (204, b"")


def test_a_change_of_state_is_told_before_there_is_a_text(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    with local_llm.held():
        first = submitted(http)
        local_llm.wait_until_asked()
        events = events_of(http, submitted(http, args={"prompt": "Me?"}))
        assert next(events) == ("status", "", {"status": "queued"})
        http.delete(f"/v1/jobs/{first}")
        assert next(events) == ("status", "", {"status": "running"})
    assert text_of(list(events)) == "Echo: Me?."


def test_a_stream_that_is_dropped_at_every_event_goes_on(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """While the text is written, and when it is there; nothing is missing, nothing comes twice."""
    pieces = [f"{number}ä😀 " for number in range(12)]
    local_llm.stream(*pieces, pause_seconds=0.02)
    task_id = submitted(http)
    for after in ("", "0"):
        read: list[tuple[str, str, dict[str, Any]]] = []
        last_id = after
        while not read or read[-1][0] != "done":
            assert len(read) < 100
            for event in events_of(http, task_id, last_id):
                if event[1]:
                    read.append(event)
                    last_id = event[1]
                    break
        assert text_of(read) == "".join(pieces)
        assert [name for name, _, _ in read] == ["text"] * (len(read) - 1) + ["done"]
    whole = list(events_of(http, task_id))
    for _, last_id, _ in read[:-1]:
        begun = text_of(read[: [one for _, one, _ in read].index(last_id) + 1])
        assert begun + text_of(list(events_of(http, task_id, after=last_id))) == text_of(whole)


def test_a_failure_at_any_token_is_the_last_event(http: HttpSite, local_llm: LocalLLM) -> None:
    for tokens in range(4):
        pieces = ["one ", "two ", "three "][:tokens]
        with local_llm.fail(ContextOverflow, *pieces).held():
            task_id = submitted(http)
            local_llm.wait_until_asked(tokens + 1)
        events = list(events_of(http, task_id))
        name, last_id, data = events[-1]
        assert (name, data["error"]["code"]) == ("failed", "context_overflow")
        assert "".join(pieces).startswith(text_of(events))
        assert http.get(f"/v1/jobs/{task_id}").json()["error"]["code"] == "context_overflow"
        assert http.get(f"/v1/jobs/{task_id}/events?after={last_id}").status_code == 204


def test_a_text_that_begins_anew_says_so(http: HttpSite, local_llm: LocalLLM) -> None:
    break_off(local_llm, "Hel", "lo").stream("Good ", "bye.")
    events = list(events_of(http, submitted(http)))
    assert "restart" in [name for name, _, _ in events]
    assert text_of(events) == "Good bye."


def test_a_job_is_cancelled_where_it_is(http: HttpSite, local_llm: LocalLLM) -> None:
    """Running, queued behind it, ended, unknown."""
    with local_llm.held():
        running = submitted(http)
        local_llm.wait_until_asked()
        queued = submitted(http, priority="low")
        gone = http.delete(f"/v1/jobs/{queued}")
        assert (gone.status_code, gone.json()["status"]) == (200, "cancelled")
        told = http.post(f"/v1/jobs/{running}/cancel")
        assert told.status_code in (200, 202)
        *_, (name, _, data) = events_of(http, running)
        assert (name, data["error"]["code"]) == ("cancelled", "cancelled")
    again = http.delete(f"/v1/jobs/{running}")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    assert again.json()["error"]["code"] == "cancelled"
    for reply in (http.delete("/v1/jobs/nobody"), http.get("/v1/jobs/nobody/explain")):
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


WRONG_BODIES: list[tuple[Any, str]] = [
    ({}, "kind"),
    ({"kind": "secret"}, "kind"),
    ({"kind": "generate"}, "args.prompt"),
    ({"kind": "generate", "args": {"prompt": 3}}, "args.prompt"),
    ({"kind": "generate", "args": {"prompt": "a", "priority": "low"}}, "args.priority"),
    ({"kind": "generate", "args": {"prompt": "a", "task_id": "secret"}}, "args.task_id"),
    ({"kind": "generate", "args": []}, "args"),
    ({**HELLO, "priority": "urgent"}, "priority"),
    ({**HELLO, "deadline_seconds": -1}, "deadline_seconds"),
    ({**HELLO, "webhook": "ftp://secret"}, "webhook"),
    ({"kind": "chat", "args": {"messages": []}}, "args.messages"),
]


def test_a_wrong_body_is_refused_by_field(http: HttpSite, local_llm: LocalLLM) -> None:
    for body, param in WRONG_BODIES:
        reply = http.post("/v1/jobs", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
        assert "secret" not in reply.text
    assert local_llm.submitted == []


def test_what_is_no_place_is_refused(http: HttpSite) -> None:
    for after in ("x", "run.-1", "1.2.3", "run.5.end.end", "é.1", "." * 81):
        reply = http.get("/v1/jobs/nobody/events", params={"after": after})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "after")
    assert http.get("/v1/jobs/nobody/events", params={"after": "run.5"}).status_code == 404


def test_redis_away_is_said_at_once(http: HttpSite, local_llm: LocalLLM) -> None:
    with local_llm.redis_away():
        for reply in (http.post("/v1/jobs", json=HELLO), http.get("/v1/jobs/one/events")):
            assert (reply.status_code, reply.json()["code"]) == (503, "broker_unreachable")
    assert http.post("/v1/jobs", json=HELLO).status_code == 202


def test_other_tenants_jobs_are_not_there(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under none of the routes, also by the same idempotency key."""

    tell_tenants_by_header(monkeypatch)
    ours, theirs = {"x-tenant": "ada", "Idempotency-Key": "k"}, {"x-tenant": "bob"}
    job = http.post("/v1/jobs", json=HELLO, headers=ours).json()
    path = f"/v1/jobs/{job['id']}"
    paths = [path, f"{path}/events", f"{path}/explain"]
    for headers in (theirs, {}):
        replies = [http.get(one, headers=headers) for one in paths]
        replies += [http.delete(path, headers=headers)]
        replies += [http.post(f"{path}/cancel", headers=headers)]
        assert {reply.status_code for reply in replies} == {404}
    other = http.post("/v1/jobs", json=HELLO, headers={**theirs, "Idempotency-Key": "k"})
    assert other.json()["id"] != job["id"]
    assert http.get(path, headers=ours).status_code == 200


def test_a_stream_bears_that_redis_is_away(http: HttpSite, local_llm: LocalLLM) -> None:
    with local_llm.reply("Hello.").held():
        task_id = submitted(http)
        local_llm.wait_until_asked()
        events = events_of(http, task_id)
        assert next(events)[0] == "status"
        with local_llm.redis_away():
            time.sleep(2 * FIRST_PAUSE_SECONDS)  # a look at the state fails meanwhile
    rest = list(events)
    assert (rest[-1][0], text_of(rest)) == ("done", "Hello.")
