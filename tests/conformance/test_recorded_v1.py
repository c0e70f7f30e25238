"""Every recorded or documented exchange of `/v1` goes byte for byte through the engine's client.

What Ollama said is replayed in tests/integration/test_recorded_exchanges.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.engine import Engine, EngineDied
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.prompt import Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from tests.doubles.replay import Replay

WIRE = Path(__file__).parents[1] / "wire_openai"
DIED = "died"
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"

#: What the engine makes of each recording of llama.cpp's server that is no whole answer.
ENDS = {
    "chat_answer_too_long_stream": "context_overflow",
    "chat_prompt_too_long_nostream": "context_overflow",
    "chat_prompt_too_long_stream": "context_overflow",
    "chat_tools_cut_stream": "invalid_output",  # the arguments are no JSON
    "chat_no_key": "model_failed",
    "chat_image": "model_failed",
    "chat_malformed_json": "model_failed",
    "chat_messages_is_text": "model_failed",
    "chat_no_messages": "model_failed",
    "chat_temperature_is_text": "model_failed",
    "chat_two_answers": "model_failed",
    "chat_json_schema_bad_nostream": "model_failed",
    "chat_json_schema_bad_stream": "model_failed",
    "server_killed_midway_stream": DIED,
    "embeddings_too_long": "context_overflow",
    "embeddings_of_text_model": "invalid_request",
}


def exchange(name: str) -> dict[str, Any]:
    """One recording or documented shape."""
    return dict(json.loads((WIRE / f"{name}.json").read_text()))


def recordings(path: str) -> Iterator[str]:
    """Those whose end can be replayed."""
    for file in sorted((WIRE / "llama_server").glob("*.json")):
        found = json.loads(file.read_text())
        if found["request"]["path"] == path and "client_disconnected" not in found["response"]:
            yield file.stem


CHATS, VECTORS = list(recordings(CHAT)), list(recordings(EMBEDDINGS))
SHAPES = sorted(file.stem for file in (WIRE / "shapes").glob("*.json"))


def prompt_of(body: dict[str, Any]) -> Prompt:
    """The prompt that a recorded request is the request of."""
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    return Prompt(
        ({"role": "user", "content": "x"},),
        max(1, body.get("max_tokens", 100_000)),
        schema=schema,
        tools=tuple(body.get("tools", ())),
        top_logprobs=body.get("top_logprobs"),
    )


@contextmanager
def replayed(response: dict[str, Any]) -> Iterator[Engine]:
    """An engine whose server answers everything so."""
    with Replay(response) as server:
        entry = FleetEngine("replay", "openai_compatible", f"{server.host}/v1")
        engine = OpenAiEngine(entry, Settings(retry_base_seconds=0.05))
        try:
            yield engine
        finally:
            engine.close()


def whole_text(response: dict[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    """Text, arguments of calls, and usage, as the bytes have them."""
    events = [
        json.loads(line[6:]) for line in response.get("lines", ()) if line.startswith("data: {")
    ]
    text, arguments, usage = "", dict[int, str](), {}
    for event in events:
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                place = call["index"]
                arguments[place] = arguments.get(place, "") + call["function"].get("arguments", "")
        usage = event.get("usage") or usage
    return text, [json.loads(one) for one in arguments.values()], usage


def test_much_was_recorded() -> None:
    """The tests below must not pass because they found little."""
    assert len(CHATS) >= 40
    assert len(SHAPES) >= 15
    assert set(ENDS) <= {*CHATS, *VECTORS}


@pytest.mark.parametrize("name", CHATS)
def test_a_recorded_chat_ends_as_it_should(name: str) -> None:
    """An answer is whole and counted as the server counts; an error is the right one.

    The engine always asks for a stream: a server that sends a whole answer instead is either
    understood or refused by name, and never taken for an empty answer.
    """
    found = exchange(f"llama_server/{name}")
    body, response = found["request"].get("body", {}), found["response"]
    with replayed(response) as engine:
        try:
            completion = engine.complete(prompt_of(body), model="m", remaining_seconds=30)
        except ServiceError as error:
            end = DIED if isinstance(error, EngineDied) else error.code
            assert end == ENDS.get(name, "model_failed" if "lines" not in response else "")
            return
    assert name not in ENDS
    text, arguments, usage = whole_text(response)
    assert completion.text == text
    assert [one["function"]["arguments"] for one in completion.tool_calls] == arguments
    assert completion.prompt_tokens == usage.get("prompt_tokens", 0)
    if usage:
        assert completion.completion_tokens == usage["completion_tokens"]
    wanted = body.get("logprobs", False)
    assert bool(completion.logprobs) == wanted
    assert "".join(one["token"] for one in completion.logprobs) == (text if wanted else "")


@pytest.mark.parametrize("name", SHAPES)
def test_a_documented_shape_is_read(name: str) -> None:
    """What vLLM, SGLang, LM Studio and OpenAI send; each file says where that is shown."""
    found = exchange(f"shapes/{name}")
    expected = found["expected"]
    assert found["shape_from"].startswith("https://")
    with replayed(found["response"]) as engine:
        try:
            completion = engine.complete(
                prompt_of({"max_tokens": expected.get("max_tokens", 100)}),
                model="m",
                remaining_seconds=30,
            )
        except ServiceError as error:
            end = DIED if isinstance(error, EngineDied) else error.code
            assert end == expected.get("end")
            return
    said = (completion.text, completion.prompt_tokens, completion.completion_tokens)
    assert said == (expected["text"], expected["prompt_tokens"], expected["completion_tokens"])
    assert completion.finish_reason == expected.get("finish_reason", "stop")


@pytest.mark.parametrize("name", VECTORS)
def test_a_recorded_embedding_ends_as_it_should(name: str) -> None:
    """Vectors are the server's; an error is the right one."""
    response = exchange(f"llama_server/{name}")["response"]
    data = json.loads(response["body_text"]).get("data", [])
    with replayed(response) as engine:
        try:
            texts = ToEmbed(("x",) * (len(data) or 1))
            completion = engine.embed(texts, model="m", remaining_seconds=30)
        except ServiceError as error:
            end = error.code
            assert end == ENDS[name]
            return
    assert name not in ENDS
    assert [list(one) for one in completion.vectors] == [one["embedding"] for one in data]


def test_an_overflow_has_the_sizes_that_were_told() -> None:
    """The caller learns how much too long it was."""
    response = exchange("llama_server/chat_prompt_too_long_stream")["response"]
    with replayed(response) as engine, pytest.raises(ServiceError) as failure:
        engine.complete(prompt_of({}), model="m", remaining_seconds=30)
    told = json.loads(response["body_text"])["error"]
    assert f"{told['n_prompt_tokens']} tokens, room for {told['n_ctx']}" in failure.value.message


def test_the_models_that_llama_server_lists_are_read() -> None:
    """With the context that it runs with, not the one of its training."""
    with replayed(exchange("llama_server/models")["response"]) as engine:
        (model,) = engine.models()
        assert (model.name, engine.context_tokens(model.name)) == ("smollm2-135m-instruct", 512)


def test_a_wrong_key_is_told_by_every_question() -> None:
    """It names no key, and says where it is set."""
    response = exchange("llama_server/models_wrong_key")["response"]
    with replayed(response) as engine, pytest.raises(ServiceError) as failure:
        engine.models()
    assert failure.value.code == "model_failed"
    assert "api_key" in failure.value.hint
