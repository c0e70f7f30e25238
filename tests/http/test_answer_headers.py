"""What the headers of every answer say, on all APIs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from local_llm_service import producers
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import BrokerUnreachable
from tests.http.conftest import HttpSite

ASKED = {"model": "scripted:1b", "messages": [{"role": "user", "content": "Hello."}]}
STREAMED = {**ASKED, "stream": True}
#: Path, body, and whether the reply begins before its answer.
CALLS: list[tuple[str, dict[str, Any], bool]] = [
    ("/generate", {"prompt": "Hello."}, False),
    ("/v1/jobs", {"kind": "generate", "args": {"prompt": "Hello."}}, False),
    ("/v1/chat/completions", ASKED, False),
    ("/v1/chat/completions", STREAMED, True),
    ("/v1/completions", {"prompt": "Hello."}, False),
    ("/v1/completions", {"prompt": ["Hello.", "Hello again."]}, False),
    ("/v1/embeddings", {"input": "Hello."}, False),
    ("/v1/responses", {"input": "Hello."}, False),
    ("/v1/responses", {"input": "Hello.", "stream": True}, True),
    ("/v1/responses/compact", {"input": "Hello, I am Ada."}, False),
    ("/api/chat", {**ASKED, "stream": False}, False),
    ("/api/chat", ASKED, True),
    ("/api/generate", {"model": "scripted:1b", "prompt": "Hello.", "stream": False}, False),
    ("/api/embed", {"model": "scripted:1b", "input": "Hello."}, False),
]


def digest_of(http: HttpSite) -> str:
    """The digest of the only model, as the service lists it."""
    (model,) = http.get("/models").json()["models"]
    return str(model["digest"])


def test_every_answer_says_its_models_digest(http: HttpSite, local_llm: LocalLLM) -> None:
    """And its job's id, where it comes from, and how long it waited; a stream, what is known."""
    digest, wrong = digest_of(http), []
    for path, body, begins_before in CALLS:
        preferred = {"Prefer": "wait=10"}
        headers = http.post(path, json=body, headers=preferred).headers
        has_all = headers.get("X-Local-LLM-Origin") and headers.get("X-Local-LLM-Queue-Seconds")
        is_right = headers.get("X-Local-LLM-Model-Digest") == digest
        if not (is_right and headers.get("X-Local-LLM-Task-Id") and (has_all or begins_before)):
            wrong.append((path, dict(headers)))
    assert wrong == []


def test_an_answer_that_is_fetched_says_the_same(http: HttpSite) -> None:
    """A job and a response, by their ids; before the answer there is only the id."""
    asked = {"kind": "generate", "args": {"prompt": "a"}}
    job = http.post("/v1/jobs", json=asked, headers={"Prefer": "wait=10"}).json()
    response = http.post("/v1/responses", json={"input": "b"}).json()
    for path in (f"/v1/jobs/{job['id']}", f"/v1/responses/{response['id']}"):
        headers = http.get(path).headers
        assert headers["X-Local-LLM-Model-Digest"] == digest_of(http)
        assert headers["X-Local-LLM-Origin"] == "computed"
        assert headers["X-Local-LLM-Task-Id"] in path


def test_an_answer_does_not_wait_for_a_digest(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there is told without it where nobody can tell the digest."""

    def away() -> list[dict[str, Any]]:
        raise BrokerUnreachable("Redis is away")

    monkeypatch.setattr(producers, "models", away)
    replies: list[httpx.Response] = [http.post("/generate", json={"prompt": "a"}) for _ in "12"]
    assert [one.status_code for one in replies] == [200, 200]
    assert replies[1].headers["X-Local-LLM-Origin"] == "cached"
    assert all("X-Local-LLM-Model-Digest" not in one.headers for one in replies)
