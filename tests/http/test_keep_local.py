"""Every door of HTTP takes `keep_local`, and what says it beside the body cannot be undone there.

That nothing of such a job reaches a remote model is shown in tests/integration/test_keep_local.py;
here its worker marks the answer of each call that was to stay.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from local_llm_service.testing import LocalLLM
from tests.conftest import wait_until
from tests.http.api_keys import add_key
from tests.http.batching import begin, jsonl, line, read, until_ended
from tests.http.conftest import HttpSite

MESSAGES = [{"role": "user", "content": "Hello, I am Ada."}]
MODEL = {"model": "scripted:1b"}
FUNCTION = {"name": "greet", "parameters": {"properties": {"name": {"type": "string"}}}}
#: By path, a body that each of its calls may have.
DOORS: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "Hi"},
    "/summarize": {"context": "Ada was here. " * 40, "max_summary_tokens": 20},
    "/compress": {"messages": MESSAGES},
    "/extract-parameters": {"user_message": "I am Ada.", "function_schema": FUNCTION},
    "/structured-output": {"prompt": "Hi", "schema": {"type": "object"}},
    "/v1/jobs": {"kind": "generate", "args": {"prompt": "Hi"}},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/embeddings": {**MODEL, "input": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/responses/compact": {"input": "Hi"},
    "/api/chat": {**MODEL, "messages": MESSAGES, "stream": False},
    "/api/generate": {**MODEL, "prompt": "Hi", "stream": False},
    "/api/embed": {**MODEL, "input": "Hi"},
    "/api/embeddings": {**MODEL, "prompt": "Hi"},
}
STREAMS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/api/chat", "/api/generate")
HEADER = {"X-Keep-Local": "true"}


def reply_to_all(local_llm: LocalLLM) -> None:
    """One text that is an answer of every kind."""
    local_llm.reply('{"name": "Ada"}', times=None)


def is_kept(http: HttpSite, reply: httpx.Response, headers: dict[str, str]) -> bool:
    """Whether the job of a reply had to stay local, as its worker understood it."""
    assert reply.status_code in (200, 202), reply.text
    path = f"/v1/jobs/{reply.headers['X-Local-LLM-Task-Id']}"

    def answer() -> Any:
        job = http.get(path, headers=headers).json()
        assert "error" not in job, job
        return job.get("answer")

    return wait_until(answer, "the job is answered").get("keep_local") is True


@pytest.mark.parametrize("path", DOORS)
def test_every_door_takes_it(http: HttpSite, local_llm: LocalLLM, path: str) -> None:
    """From the body, or from a header, which a body cannot undo; both true or false alone."""
    reply_to_all(local_llm)

    def kept(body: dict[str, Any], headers: dict[str, str]) -> bool:
        return is_kept(http, http.post(path, json=DOORS[path] | body, headers=headers), headers)

    assert not kept({}, {})
    assert not kept({"keep_local": False}, {"X-Keep-Local": "false"})
    assert kept({"keep_local": True}, {})
    assert kept({}, HEADER)
    assert kept({"keep_local": False}, HEADER)
    for wrong in ({"keep_local": "yes"}, {"keep_local": 1}):
        for headers in ({}, HEADER):
            refused = http.post(path, json=DOORS[path] | wrong, headers=headers)
            assert refused.status_code == 400, refused.text
    refused = http.post(path, json=DOORS[path], headers={"X-Keep-Local": "yes"})
    assert (refused.status_code, "X-Keep-Local" in refused.text) == (400, True)


@pytest.mark.parametrize("path", STREAMS)
def test_every_stream_takes_it(http: HttpSite, local_llm: LocalLLM, path: str) -> None:
    """As it is the same call."""
    reply_to_all(local_llm)
    body = DOORS[path] | {"stream": True}
    for more, headers in (({"keep_local": True}, {}), ({}, HEADER)):
        assert is_kept(http, http.post(path, json=body | more, headers=headers), headers)
    assert not is_kept(http, http.post(path, json=body), {})


def test_what_a_proxy_adds_holds(http: HttpSite, local_llm: LocalLLM) -> None:
    """Whatever stood there before: as a header of its own, or behind a comma."""
    reply_to_all(local_llm)
    for headers in (
        [("X-Keep-Local", "false"), ("X-Keep-Local", "true")],
        [("X-Keep-Local", "false, TRUE")],
    ):
        reply = http.client.post("/generate", json={"prompt": "Hi"}, headers=headers)
        assert reply.json()["keep_local"] is True


def test_clients_that_send_options_alone_send_it_there(http: HttpSite, local_llm: LocalLLM) -> None:
    """Of Ollama's API; it is no unknown option that would be left out."""
    reply_to_all(local_llm)
    for path in ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"):
        reply = http.post(path, json=DOORS[path] | {"options": {"keep_local": True}})
        assert is_kept(http, reply, {})
        assert "X-Local-LLM-Ignored" not in reply.headers


def test_a_key_keeps_all_that_it_asks(http: HttpSite, local_llm: LocalLLM) -> None:
    """Whatever the body says; another key of the same tenant does not."""
    reply_to_all(local_llm)
    kept = add_key("hr", "--tenant", "acme", "--keep-local")
    free = add_key("web", "--tenant", "acme")
    for path, body in DOORS.items():
        for own in ({}, {"keep_local": False}):
            assert is_kept(http, http.post(path, json=body | own, headers=kept), kept), path
        assert not is_kept(http, http.post(path, json=body, headers=free), free), path


def test_an_idempotency_key_is_of_one_request(http: HttpSite, local_llm: LocalLLM) -> None:
    """The same body that is to stay is another one: its job is not one that might have left."""
    reply_to_all(local_llm)
    named = {"Idempotency-Key": '"one"'}
    body = DOORS["/v1/jobs"]
    assert http.post("/v1/jobs", json=body, headers=named).status_code in (200, 202)
    again = http.post("/v1/jobs", json=body, headers=named | HEADER)
    assert again.status_code == 422, again.text


def test_what_continues_a_kept_response_is_kept(http: HttpSite, local_llm: LocalLLM) -> None:
    """It holds the whole conversation: so does its compacted form's job."""
    reply_to_all(local_llm)
    first = http.post("/v1/responses", json={"input": "I am Ada.", "keep_local": True}).json()
    for _ in range(2):
        body = {"input": "Who am I?", "previous_response_id": first["id"]}
        reply = http.post("/v1/responses", json=body)
        assert is_kept(http, reply, {})
        assert is_kept(http, http.post("/v1/responses/compact", json=body), {})
        first = reply.json()
        assert first["local"]["keep_local"] is True


def test_batches_are_kept(http: HttpSite, local_llm: LocalLLM, files_dir: Any) -> None:
    """A line by its own body; all lines by the header of the request that made the batch."""
    reply_to_all(local_llm)
    lines = jsonl(line("a", keep_local=True), line("b"), line("c", keep_local=False))
    all_kept = {"a": True, "b": True, "c": True}
    for headers, expected in (({}, all_kept | {"b": False, "c": False}), (HEADER, all_kept)):
        batch = until_ended(http, begin(http, lines, extra_headers=headers).id)
        found = read(http, batch.output_file_id)
        kept = {
            name: one["response"]["body"]["local"].get("keep_local", False)
            for name, one in found.items()
        }
        assert kept == expected
    wrong = until_ended(http, begin(http, jsonl(line("a", keep_local="yes"))).id)
    assert wrong.status == "failed"
    assert "keep_local" in json.dumps(wrong.errors.model_dump())
