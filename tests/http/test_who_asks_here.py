"""A page in a browser beside the service cannot use it: neither as another origin nor by DNS."""

from __future__ import annotations

import pytest

from local_llm_service.producers.http.callers.hosts import is_loopback_name
from local_llm_service.testing import LocalLLM
from tests.http.conftest import HttpSite

OURS = ["localhost", "localhost:8015", "127.0.0.1:8015", "127.9.9.9", "[::1]:8015", "a.localhost"]
OTHERS = [
    *("", "evil.example", "evil.example:8015", "localhost.evil.example", "10.0.0.1", "0.0.0.0"),
    *("[::2]", "[", "127.0.0.1.evil.example", "evil.example/127.0.0.1", "2130706433"),
]


@pytest.mark.parametrize("host", OURS)
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback_name(host)


@pytest.mark.parametrize("host", OTHERS)
def test_other_names(host: str) -> None:
    assert not is_loopback_name(host)


def test_without_keys_the_service_answers_to_its_machines_names_only(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    reply = http.post("/generate", json={"prompt": "a"}, headers={"Host": "evil.example"})
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert http.get("/health/live", headers={"Host": "llm.internal"}).is_success
    origin = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    reply = http.post("/generate", content=b'{"prompt": "a"}', headers=origin)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in reply.headers
    assert local_llm.prompts == []
    assert http.post("/generate", json={"prompt": "a"}, headers={"Origin": http.url}).is_success


@pytest.mark.local_llm(settings={"allow_anonymous": True, "cors_origins": "https://app.example/"})
def test_what_the_operator_allows(http: HttpSite) -> None:
    headers = {"Host": "llm.example", "Origin": "https://app.example"}
    reply = http.post("/generate", json={"prompt": "a"}, headers=headers)
    assert reply.is_success
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    asks = {**headers, "Access-Control-Request-Method": "POST"}
    assert http.client.options("/generate", headers=asks).status_code == 204
    assert (
        http.get("/health", headers={**headers, "Origin": "https://b.example"}).status_code == 403
    )
