"""Replays each recorded request to a real Ollama against the embedded server.

Status, framing, fields, types, wording and token counts of the prompt must agree; times,
digests and the model's words may differ.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.store.presence import EMBEDDED

WIRE = Path(__file__).parents[1] / "wire"
LEFT_OUT = {
    "the model is another one": ("native", "load_fails", "broken"),
    "a debugging device that the embedded server does not have": ("render",),
    "a break or a queue, which other tests provoke": (
        "client_disconnect",
        "queue_full",
        "runner_killed",
        "serve_stopped",
        "queued_behind",
    ),
    "two hundred tokens for what a shorter test shows": ("format_json",),
    "its length depends on the model's words": ("natural_stop", "generation_overruns"),
    "the client hung up after 400 lines": ("num_predict_0",),
    "the state of a server, compared in its own test": ("ps_", "tags", "chat_load"),
    "a repeat of its neighbour": ("_second", "_again", "seed42_first", "noseed_first"),
}
# Fields that change from run to run, or with the build of llama.cpp and the model's file.
FREE = {"created_at", "content", "total_duration", "load_duration", "prompt_eval_duration"}
FREE |= {"eval_duration", "eval_count", "modified_at", "expires_at", "digest", "size", "modelfile"}
FREE |= {"token", "logprob", "bytes"}
# Of a call: its name is made up at each time. Of a vector: compared in a test of its own.
FREE |= {"id", "embeddings"}
# Recordings whose end depends on the model's own choice of words.
FREE_ENDS = {"chat_format_empty_schema", "chat_system_multi_turn", "chat_stop_sequence"}
FREE_ENDS |= {"chat_logprobs", "chat_logprobs_stream"}


def chosen() -> list[str]:
    """The recordings to replay, grouped by context so that the model is seldom reloaded."""
    left_out = [part for parts in LEFT_OUT.values() for part in parts]
    kept = [p.stem for p in WIRE.glob("*.json") if not any(part in p.stem for part in left_out)]
    return sorted(kept, key=lambda name: ("num_ctx" in name, name))


def exchange(name: str) -> dict[str, Any]:
    """One recording."""
    return dict(json.loads((WIRE / f"{name}.json").read_text()))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of an embedded server with Ollama's defaults."""
    with (
        OllamaProcess(env={"OLLAMA_NUM_PARALLEL": "1"}) as server,
        httpx.Client(base_url=server.host, timeout=60, trust_env=False) as client,
    ):
        yield client


def send(client: httpx.Client, request: dict[str, Any]) -> httpx.Response:
    """Send the recorded request again."""
    if "body_text" in request:
        content = request["body_text"].encode()
    else:
        content = json.dumps(request["body"]).encode() if "body" in request else b""
    return client.request(request["method"], request["path"], content=content)


def shape(value: Any, key: str = "") -> Any:
    """`value`, with each part that may differ between two runs replaced by its type."""
    if isinstance(value, dict):
        return {name: shape(inner, name) for name, inner in value.items()}
    if key == "tensors":
        return sorted(json.dumps(shape(inner), sort_keys=True) for inner in value)
    if key == "logprobs":
        return shape(value[0])
    if isinstance(value, list) and key not in FREE:
        return [shape(inner) for inner in value]
    return type(value).__name__ if key in FREE else value


def framing(headers: dict[str, str]) -> tuple[str | None, bool]:
    """The content type, and whether the body arrived in chunks."""
    return headers.get("content-type"), "transfer-encoding" in headers


@pytest.mark.parametrize("name", chosen())
def test_a_recorded_request_is_answered_as_ollama_did(client: httpx.Client, name: str) -> None:
    """Status, framing, fields, wording, prompt tokens and end are the same."""
    recorded = exchange(name)
    expected, answer = recorded["response"], send(client, recorded["request"])
    assert answer.status_code == expected["status"], answer.text
    headers = {key.lower(): value for key, value in expected["headers"]}
    assert framing(dict(answer.headers)) == framing(headers)
    if "lines" in expected:
        compare_lines(name, answer.text.splitlines(), expected["lines"])
    elif "body" in expected:
        compare(name, answer.json(), expected["body"])
    else:
        assert answer.text == expected["body_text"]
        assert answer.headers.get("allow") == headers.get("allow")


def compare(name: str, given: Any, expected: Any) -> None:
    """Compare one JSON value with the recorded one."""
    given, expected = shape(given), shape(expected)
    if name == "version":  # the one thing in which it must not be taken for Ollama
        given["version"] = given["version"].removesuffix(EMBEDDED)
    if name in FREE_ENDS:
        ends = (given.pop("done_reason", None), expected.pop("done_reason", None))
        assert ends == (None, None) or set(ends) <= {"stop", "length"}
    assert given == expected


def compare_lines(name: str, given: list[str], expected: list[str]) -> None:
    """Compare a stream with the recorded one: its first line, its last, and all in between."""
    lines, recorded = ([json.loads(line) for line in each] for each in (given, expected))
    compare(name, lines[0], recorded[0])
    compare(name, lines[-1], recorded[-1])
    for line in lines[:-1]:
        assert shape(line) == shape(lines[0])
        assert line["message"]["content"] != "" or line["message"]["tool_calls"]
    assert lines[-1]["done"] == recorded[-1]["done"]
    if lines[-1]["done"]:
        assert lines[-1]["message"]["content"] == ""


def loaded_to_write(client: httpx.Client) -> dict[str, Any]:
    """What /api/ps says, without the runner for vectors, which is one of its own."""
    models = client.get("/api/ps").json()["models"]
    return {"models": [model for model in models if model["name"] != "smollm2-embed:135m"]}


@pytest.mark.parametrize("name", ["embed_model_batch", "embed_model_dimensions"])
def test_vectors_are_those_that_ollama_made(client: httpx.Client, name: str) -> None:
    """Of the same file, by another build of llama.cpp: alike, and of length 1."""
    recorded = exchange(name)
    given = send(client, recorded["request"]).json()["embeddings"]
    expected = recorded["response"]["body"]["embeddings"]
    for one, other in zip(given, expected, strict=True):
        assert math.hypot(*one) == pytest.approx(1, abs=1e-5)
        assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.999


def test_loading_and_unloading_show_in_ps(client: httpx.Client) -> None:
    """A chat without messages loads the model, keep_alive 0 unloads it, and /api/ps shows both."""
    load = exchange("chat_load")
    compare("chat_load", send(client, load["request"]).json(), load["response"]["body"])
    loaded = exchange("ps_loaded")["response"]["body"]
    compare("ps_loaded", loaded_to_write(client), loaded)
    unload = {"model": "smollm2:135m", "messages": [], "keep_alive": 0}
    assert client.post("/api/chat", json=unload).json()["done_reason"] == "unload"
    assert loaded_to_write(client) == exchange("ps_after_unload")["response"]["body"]


def test_a_context_over_the_trained_length_is_clamped_in_ps(client: httpx.Client) -> None:
    """`num_ctx: 100000` runs with 8192."""
    body = exchange("ctx_num_ctx_over_trained")["request"]["body"]
    assert client.post("/api/chat", json=body | {"messages": []}).status_code == 200
    expected = exchange("ps_num_ctx_over_trained")["response"]["body"]
    compare("ps", loaded_to_write(client), expected)


def test_keep_alive_below_zero_means_forever(client: httpx.Client) -> None:
    """/api/ps then shows a time centuries in the future, as recorded."""
    body = exchange("chat_keep_alive_negative")["request"]["body"]
    client.post("/api/chat", json=body | {"messages": []})
    expires_at = client.get("/api/ps").json()["models"][0]["expires_at"]
    recorded = exchange("ps_keep_alive_negative")["response"]["body"]["models"][0]["expires_at"]
    assert expires_at[:3] == recorded[:3]


def test_the_list_holds_the_model_with_the_recorded_fields(client: httpx.Client) -> None:
    """The entry of smollm2:135m is the one that Ollama listed."""
    recorded = exchange("tags")["response"]["body"]["models"]
    (expected,) = (model for model in recorded if model["name"] == "smollm2:135m")
    models = client.get("/api/tags").json()["models"]
    (model,) = (model for model in models if model["name"] == "smollm2:135m")
    compare("tags", model, expected)


@pytest.mark.parametrize("path", ["/api/generate", "/api/embeddings", "/api/pull", "/v1/models"])
def test_a_route_that_is_not_embedded_says_so(client: httpx.Client, path: str) -> None:
    """A route that only the real Ollama has is a 501, not a 404."""
    answer = client.post(path, json={"model": "smollm2:135m"})
    assert answer.status_code == 501
    assert "run a real Ollama" in answer.json()["error"]


def test_head_of_the_root_answers_like_get(client: httpx.Client) -> None:
    """HEAD is a sign of life: it answers as GET does, without the text."""
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
