"""Pull, push, create, copy and delete: refused, or passed on to the one Ollama beside HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from local_llm_service.producers.http.callers.caller import Caller
from tests.doubles.ollama import FakeOllama
from tests.http.conftest import HttpSite

CALLS = [
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", f"/api/blobs/sha256:{'0' * 64}"),
]


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    """The Ollama at OLLAMA_HOST."""
    with FakeOllama() as running:
        yield running


@pytest.fixture
def managing(http: HttpSite, server: FakeOllama) -> HttpSite:
    """HTTP with ALLOW_MODEL_MANAGEMENT."""
    service = http.app.service
    allowed = {"allow_model_management": True, "ollama_host": server.host, "max_file_bytes": 1000}
    service.settings = service.settings.model_copy(update=allowed)
    return http


def test_models_are_not_managed_unless_the_operator_allows_it(http: HttpSite) -> None:
    for method, path in CALLS:
        reply = http.client.request(method, path, json={"model": "a"})
        assert reply.status_code == 403, path
        assert reply.json()["error"].startswith("models are not managed through this service")
    assert http.client.head(CALLS[-1][1]).status_code == 403


def test_a_key_below_the_highest_ceiling_manages_nothing(
    managing: HttpSite, server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tenants share the models."""

    async def authorized(*_: object, **__: object) -> Caller:
        return Caller(tenant="ada", ceiling="normal")

    monkeypatch.setattr("local_llm_service.producers.http.gateway.authorize", authorized)
    assert managing.post("/api/pull", json={"model": "a"}).status_code == 403
    assert server.managed == []


def test_ollamas_own_reply_is_passed_on_line_by_line(
    managing: HttpSite, server: FakeOllama
) -> None:
    """With the official client, which raises what a line says."""
    with ollama.Client(managing.url, trust_env=False) as client:
        told = [part.status for part in client.pull("a:1b", stream=True)]
        assert told == ["pulling manifest", "success"]
        with pytest.raises(ollama.ResponseError, match="no such model"):
            list(client.pull("nope", stream=True))
        assert client.delete("a:1b").status == "success"
    assert [call[:2] for call in server.managed] == [
        ("POST", "/api/pull"),
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
    ]
    assert b"a:1b" in server.managed[0][2]


def test_a_file_goes_through_within_its_bound(
    managing: HttpSite, server: FakeOllama, tmp_path: Path
) -> None:
    file = tmp_path / "part"
    file.write_bytes(b"x" * 900)
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    with ollama.Client(managing.url, trust_env=False) as client:
        assert client.create_blob(file) == digest
    assert server.managed[-1] == ("POST", f"/api/blobs/{digest}", b"x" * 900)
    assert managing.client.head(f"/api/blobs/{digest}").status_code == 404
    for content in (b"x" * 1001, iter([b"x" * 600] * 2)):  # with a length, and without
        large = managing.post(f"/api/blobs/{digest}", content=content)
        assert large.status_code == 413
        assert large.json()["error"].startswith("the file has more than 1000 bytes")
    path = managing.post("/api/blobs/sha256:..", content=b"x")
    assert path.status_code == 400
    assert path.json()["error"].startswith("digest: ")


def test_an_ollama_that_is_away_is_named(managing: HttpSite, server: FakeOllama) -> None:
    server.stop()
    reply = managing.post("/api/pull", json={"model": "a"})
    assert reply.status_code == 503
    assert reply.json()["error"].startswith("Ollama is not running at http://127.0.0.1:")
    server.start()
