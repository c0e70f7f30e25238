"""Batches, by the official client."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from local_llm_service.producers.http.batches import batch_routes, drive
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.receiver import receiver
from tests.http.batching import CHAT, begin, jsonl, line, read, run, until, until_ended
from tests.http.conftest import HttpSite, http_site

pytestmark = pytest.mark.usefixtures("files_dir")


def test_the_official_client_runs_a_batch(local_llm: LocalLLM, http: HttpSite) -> None:
    """Each line gets the object that the endpoint returns, once; failures are in their own file."""
    local_llm.fail(ContextOverflow)
    batch = run(http, jsonl(*(line(one) for one in "abc")), metadata={"of": "test"})
    assert batch.status == "completed", batch
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    assert batch.usage.total_tokens > 0
    assert batch.metadata == {"of": "test"}
    output = read(http, batch.output_file_id)
    errors = read(http, batch.error_file_id)
    assert sorted([*output, *errors]) == ["a", "b", "c"]
    for custom_id, one in output.items():
        assert one["response"]["status_code"] == 200
        body = one["response"]["body"]
        assert body["object"] == "chat.completion"
        assert f"Say {custom_id}." in body["choices"][0]["message"]["content"]
        assert body["service_tier"] == "flex"
    (failed,) = errors.values()
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert {job.priority for job in local_llm.submitted} == {"low"}


def test_a_line_gets_the_object_of_its_endpoint(local_llm: LocalLLM, http: HttpSite) -> None:
    """What a call to the URL gets, the line gets."""
    asked = {
        "/v1/completions": {"model": "scripted:1b", "prompt": "Go on"},
        "/v1/embeddings": {"model": "scripted:1b", "input": ["a", "b"]},
        "/v1/responses": {"model": "scripted:1b", "input": "Say b."},
        "/v1/jobs": {"kind": "generate", "args": {"prompt": "Say c."}},
        "/generate": {"prompt": "Say a."},
        "/summarize": {"context": "A long text."},
    }
    lines = {
        url: {"custom_id": "a", "method": "POST", "url": url, "body": body}
        for url, body in asked.items()
    }
    begun = {url: begin(http, jsonl(one), url).id for url, one in lines.items()}
    for url, batch_id in begun.items():
        batch = until_ended(http, batch_id)
        assert batch.status == "completed", batch.errors
        found = read(http, batch.output_file_id)["a"]["response"]["body"]
        assert found.keys() == http.post(url, json=asked[url]).json().keys()


def test_a_bad_file_is_rejected_whole(local_llm: LocalLLM, http: HttpSite) -> None:
    """Nothing runs; the batch says what is wrong in which line."""
    bad = begin(http, jsonl(line("a")) + b"\n{oops\n" + jsonl(line("a")))
    unknown = begin(http, jsonl(line("a", model="none:1b")))
    batch = until(http, bad.id, "failed")
    assert batch.failed_at
    assert [(one.code, one.line) for one in batch.errors.data] == [
        ("invalid_request", 3),
        ("duplicate_custom_id", 4),
    ]
    assert until(http, unknown.id, "failed").errors.data[0].code == "model_not_found"
    assert local_llm.submitted == []
    assert batch.output_file_id is None
    assert http.post(f"/v1/batches/{batch.id}/retry").status_code == 400


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"endpoint": "/v1/moderations"}, "endpoint"),
    ({"completion_window": "soon"}, "completion_window"),
    ({"completion_window": "721h"}, "completion_window"),
    ({"completion_window": "0h"}, "completion_window"),
    ({"metadata": {"k": "x" * 513}}, "metadata"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 1}},
     "output_expires_after.seconds"),
    ({"extra_body": {"more": 1}}, "more"),
    ({"extra_body": {"webhook": "https://a.example/"}}, "webhook"),
)  # fmt: skip


def test_a_wrong_batch_is_refused(http: HttpSite, files_dir: Path) -> None:
    """400 names the member, and nothing is left."""
    client = http.openai()
    file = client.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch")
    for given, param in WRONG:
        asked: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **given}
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(input_file_id=file.id, **asked)
        assert refused.value.param == param, given
    assert client.batches.list().data == []
    assert list(files_dir.glob("*/batches/*")) == []


def test_ids_that_are_nobodys_are_404(http: HttpSite, files_dir: Path) -> None:
    """No path is made of what a caller sends."""
    (files_dir / "anonymous").mkdir(parents=True)
    secret = files_dir / "anonymous" / "secret.json"
    secret.write_text("{}")
    client = http.openai()
    batch_id = "batch_00000000-0000-4000-8000-000000000000"
    for name in ("..%2Fsecret", "file-..%2F..%2Fsecret", batch_id, "file-" + "0" * 36, "%00"):
        for path in (f"/v1/files/{name}", f"/v1/files/{name}/content", f"/v1/batches/{name}"):
            assert http.get(path).status_code == 404, path
        assert http.delete(f"/v1/files/{name}").status_code == 404
        for act in ("cancel", "retry"):
            assert http.post(f"/v1/batches/{name}/{act}").status_code == 404
    with pytest.raises(openai.NotFoundError) as missing:
        client.batches.create(input_file_id="../secret", endpoint=CHAT, completion_window="24h")
    assert missing.value.param == "input_file_id"
    assert secret.exists()


def test_results_can_be_read_while_it_runs(local_llm: LocalLLM, http: HttpSite) -> None:
    """Kept lines come in the order of the output, from after any line, and say what is to come."""
    local_llm.reply("one").reply("two")
    with local_llm.held():
        batch = begin(http, jsonl(*(line(str(n)) for n in range(4))))
        path = f"/v1/batches/{batch.id}/results"
        until(http, batch.id, "in_progress")
        empty = http.get(path)
        assert (empty.text, empty.headers["x-incomplete"]) == ("", "true")
        assert empty.headers["x-last-line"] == "0"
        assert http.openai().batches.retrieve(batch.id).output_file_id is None
    until_ended(http, batch.id)
    whole = http.get(path)
    assert (whole.headers["x-incomplete"], whole.headers["x-last-line"]) == ("false", "4")
    assert whole.headers["content-type"] == "application/x-ndjson"
    lines = whole.text.splitlines(keepends=True)
    for after in (0, 1, 3, 4, 9):
        part = http.get(path, params={"after": after})
        assert part.text == "".join(lines[after:])
        assert part.headers["x-last-line"] == "4"
    assert http.get(path, params={"after": -1}).status_code == 400


def test_a_cancel_ends_what_has_no_answer(local_llm: LocalLLM, http: HttpSite) -> None:
    """What is done is in the output, all else in the errors; a second cancel changes nothing."""
    client = http.openai()
    local_llm.stream("do", "ne", pause_seconds=0.05, times=None)
    batch = begin(http, jsonl(*(line(str(n)) for n in range(300))))
    wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed, "one is done")
    with local_llm.held():
        assert client.batches.cancel(batch.id).status == "cancelling"
        ended = until(http, batch.id, "cancelled")
    assert ended.cancelled_at
    assert ended.cancelling_at
    output = read(http, ended.output_file_id)
    errors = read(http, ended.error_file_id)
    assert len(output) + len(errors) == 300
    assert len(output) >= 1
    assert {one["error"]["code"] for one in errors.values()} == {"batch_cancelled"}
    assert all(one["response"] is None for one in errors.values())
    assert client.batches.cancel(batch.id).status == "cancelled"
    assert len(local_llm.submitted) < 50


def test_a_batch_expires(
    local_llm: LocalLLM, http: HttpSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that did not run in the window are told so."""
    monkeypatch.setattr(batch_routes, "window_seconds", lambda _: 2)
    with local_llm.held():
        batch = begin(http, jsonl(*(line(str(n)) for n in range(20))), completion_window="30m")
        assert batch.expires_at == batch.created_at + 2
        ended = until(http, batch.id, "expired")
    errors = read(http, ended.error_file_id)
    assert {one["error"]["code"] for one in errors.values()} == {"batch_expired"}
    assert len(errors) == ended.request_counts.failed == 20


def test_failed_lines_run_again(local_llm: LocalLLM, http: HttpSite) -> None:
    """A retry runs the failed lines only, and output and errors say what is so now."""
    local_llm.fail(ContextOverflow).reply("b").fail(ContextOverflow).fail(ContextOverflow)
    first = run(http, jsonl(*(line(one) for one in "abc")))
    assert first.request_counts.failed == 2
    asked = len(local_llm.prompts)
    before = read(http, first.output_file_id)
    retry = http.post(f"/v1/batches/{first.id}/retry").json()
    assert (retry["status"], retry["output_file_id"]) == ("in_progress", None)
    second = until_ended(http, first.id)
    assert second.status == "completed"
    assert (second.request_counts.completed, second.request_counts.failed) == (2, 1)
    assert len(local_llm.prompts) == asked + 2
    output = read(http, second.output_file_id)
    assert output.items() >= before.items()
    assert len(read(http, second.error_file_id)) == 1
    http.post(f"/v1/batches/{first.id}/retry")
    third = until_ended(http, first.id)
    assert (third.request_counts.completed, third.request_counts.failed) == (3, 0)
    assert third.error_file_id is None
    refused = http.post(f"/v1/batches/{first.id}/retry")
    assert refused.status_code == 400


def test_pages_of_batches(local_llm: LocalLLM, http: HttpSite) -> None:
    """The newest first, none twice."""
    ids = [begin(http, jsonl(line(str(n)))).id for n in range(5)]
    client = http.openai()
    found = [one.id for one in client.batches.list(limit=2)]
    assert sorted(found) == sorted(ids)
    assert client.batches.list(limit=5).has_more is False
    assert http.get("/v1/batches", params={"limit": 101}).status_code == 400
    for one in ids:
        until_ended(http, one)


def test_another_process_goes_on_after_a_stop(local_llm: LocalLLM) -> None:
    """A stop puts a batch down at once; no line is lost, none is generated or written twice."""
    with local_llm.held():
        with http_site() as first:
            batch = begin(first, jsonl(*(line(str(n)) for n in range(8))))
            local_llm.wait_until_asked(1)
            began = time.monotonic()
        assert time.monotonic() - began < 4
    began = time.monotonic()
    with http_site() as second:
        ended = until_ended(second, batch.id)
        assert time.monotonic() - began < 5
        assert len(read(second, ended.output_file_id)) == 8
    assert ended.request_counts.completed == 8
    assert len(local_llm.prompts) == 8


def test_a_process_with_other_files_leaves_a_batch_alone(
    local_llm: LocalLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one Redis, but with another FILES_DIR, it cannot even tell that the input is there."""
    with local_llm.held(), http_site() as first:
        batch = begin(first, jsonl(line("a"), line("b")))
        local_llm.wait_until_asked(1)
    (tmp_path / "elsewhere").mkdir()
    store, claims = process_store(), set()

    def claimed_again() -> bool:
        claims.add(store.client.hget(f"{store.keys.batch}{batch.id}", "token"))
        return len(claims) > 3

    with monkeypatch.context() as there:
        there.chdir(tmp_path / "elsewhere")
        with http_site() as other:
            wait_until(claimed_again, "it has looked at the batch")
            assert other.openai().batches.retrieve(batch.id).status in ("validating", "in_progress")
    with http_site() as second:
        ended = until_ended(second, batch.id)
    assert (ended.status, ended.request_counts.completed) == ("completed", 2)


@pytest.mark.parametrize("what", ["all", "its record"])
def test_a_batch_outlives_what_its_redis_forgets(
    local_llm: LocalLLM, http: HttpSite, what: str
) -> None:
    """The disk gives the batch back to a Redis that has lost it, and each line is there once."""
    local_llm.reply("one")
    with local_llm.held():
        batch = begin(http, jsonl(*(line(str(n)) for n in range(6))))
        local_llm.wait_until_asked(1)
        store = process_store()
        if what == "all":
            store.client.flushall()
        else:
            store.client.delete(f"{store.keys.batch}{batch.id}")
        assert http.get(f"/v1/batches/{batch.id}").status_code == 200
    ended = until_ended(http, batch.id)
    assert ended.request_counts.completed == 6
    assert len(read(http, ended.output_file_id)) == 6


def test_a_batch_waits_for_redis(local_llm: LocalLLM, http: HttpSite) -> None:
    """While Redis is away nothing is lost and nothing fails."""
    with local_llm.held():
        batch = begin(http, jsonl(*(line(str(n)) for n in range(6))))
        local_llm.wait_until_asked(1)
        with local_llm.redis_away():
            assert http.get(f"/v1/batches/{batch.id}").status_code == 503
    ended = until_ended(http, batch.id)
    assert (ended.request_counts.completed, ended.request_counts.failed) == (6, 0)


def test_its_input_may_be_deleted_while_it_runs(local_llm: LocalLLM, http: HttpSite) -> None:
    """A batch has its own hold on what it reads."""
    with local_llm.held():
        batch = begin(http, jsonl(line("a"), line("b")))
        http.openai().files.delete(batch.input_file_id)
    assert until_ended(http, batch.id).request_counts.completed == 2


def test_a_batch_whose_files_were_removed_fails(
    local_llm: LocalLLM, http: HttpSite, files_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operator removes under a batch ends it, with a reason."""
    monkeypatch.setattr(drive, "TROUBLE_SECONDS", 0.2)
    first = run(http, jsonl(line("a")))
    client = http.openai()
    with local_llm.held():
        waiting = [begin(http, jsonl(line(str(n)))) for n in range(5)]
        shutil.rmtree(files_dir / "anonymous" / "batches")
    ended = [until_ended(http, one.id) for one in waiting]
    assert "files_gone" in [one.errors.data[0].code for one in ended if one.errors]
    client.files.delete(first.output_file_id)
    assert http.get(f"/v1/batches/{first.id}/results").status_code == 404


@pytest.mark.local_llm(
    settings={"webhook_secret": f"whsec_{'a' * 43}=", "webhook_allow": "127.0.0.1"}
)
def test_a_batch_tells_its_webhook(local_llm: LocalLLM, http: HttpSite) -> None:
    """Of its end, once, with its id and nothing that anybody wrote."""
    with receiver() as told:
        extra = {"extra_body": {"webhook": told.url}}
        good = begin(http, jsonl(line("a")), **extra)
        bad = begin(http, b"{}\n", **extra)
        wait_until(lambda: len(told.got) == 2, "both ends are told")
        events = {one["data"]["id"]: one for one in (json.loads(got.body) for got in told.got)}
        assert events[good.id]["type"] == "batch.completed"
        assert events[bad.id]["type"] == "batch.failed"
        assert all(b"Say" not in got.body for got in told.got)
        until_ended(http, good.id)
        assert len(told.got) == 2
