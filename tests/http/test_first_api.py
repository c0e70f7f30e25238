"""The first service's API, word for word, as its users call it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local_llm_service.testing import LocalLLM
from tests.http.conftest import HttpSite


def test_generate_waits_for_the_answer(http: HttpSite, local_llm: LocalLLM) -> None:
    local_llm.reply("A language.")
    body = {
        "prompt": "What is Python?",
        "system_prompt": "You are a helpful assistant.",
        "max_tokens": 500,
        "temperature": 0.7,
    }
    reply = http.post("/generate", json=body)
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["text"], answer["kind"], answer["origin"]) == (
        "A language.",
        "generate",
        "computed",
    )
    assert reply.headers["X-Local-LLM-Task-Id"] == answer["task_id"]
    again = http.post("/generate", json=body)
    assert again.json()["origin"] == again.headers["X-Local-LLM-Origin"] == "cached"


OTHERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/summarize", {"context": "Long text.", "max_summary_tokens": 100}, "Short.", "summary"),
    (
        "/compress",
        {"messages": [{"role": "user", "content": "Hello, I am Ada."}], "target_tokens": 200},
        "The user is Ada.",
        "messages",
    ),
    (
        "/extract-parameters",
        {
            "user_message": "Weather in Bonn?",
            "function_schema": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        },
        '{"city": "Bonn"}',
        "parameters",
    ),
    (
        "/structured-output",
        {"prompt": "A number.", "schema": {"type": "object"}},
        '{"n": 1}',
        "data",
    ),
]


@pytest.mark.parametrize(("path", "body", "text", "member"), OTHERS, ids=[one[0] for one in OTHERS])
def test_the_other_four(
    http: HttpSite, local_llm: LocalLLM, path: str, body: dict[str, Any], text: str, member: str
) -> None:
    local_llm.reply(text)
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()[member]


def test_the_state_of_the_service(http: HttpSite) -> None:
    health = http.get("/health").json()
    assert (health["service"], health["status"]) == ("local-llm", "healthy")
    assert {"model", "ollama_host", "cache_enabled"} <= health.keys()
    assert http.get("/models").json()["models"][0]["name"] == "scripted:1b"
    assert http.get("/metrics").json()["total_requests"] == 0
    text = http.get("/metrics", headers={"Accept": "text/plain"})
    assert text.text == http.get("/metrics/prometheus").text
    assert "local_llm_service_slots" in text.text
    assert http.get("/health/ready").status_code == http.get("/health/live").status_code == 200


def test_bad_input_is_told_once_and_early(http: HttpSite, local_llm: LocalLLM) -> None:
    reply = http.post("/generate", json={"prompt": ""})
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["code"] == problem["error"]["code"] == "invalid_request"
    assert problem["error"]["param"] == "prompt"
    assert local_llm.prompts == []


def test_a_request_with_its_own_key_is_one_job(http: HttpSite, local_llm: LocalLLM) -> None:
    """Whoever asks again gets it, while it runs and after; one that leaves takes it from nobody."""
    headers = {"Idempotency-Key": '"mine"'}

    def ask(**more: Any) -> httpx.Response:
        return http.post("/generate", json={"prompt": "a", "cache": False}, headers=headers, **more)

    with ThreadPoolExecutor() as pool, local_llm.held():
        first = pool.submit(ask)
        local_llm.wait_until_asked()
        with pytest.raises(httpx.ReadTimeout):
            ask(timeout=0.2)
        second = pool.submit(ask)
    ids = [one.result().json()["task_id"] for one in (first, second)] + [ask().json()["task_id"]]
    assert len(set(ids)) == len(local_llm.submitted) == 1
    other = http.post("/generate", json={"prompt": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
