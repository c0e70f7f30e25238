"""Every recorded chat, of both versions, goes byte for byte through the engine's real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.prompt import Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from tests.doubles.replay import Replay

WIRE = Path(__file__).parents[1] / "wire"
DIED = "died"

#: What the engine makes of each exchange that is no whole answer, by name; of those that both
#: versions have, 0.24's second. A refused format is asked again without one and ends here as
#: model_failed, because the recording refuses that, too.
ENDS = {
    **dict.fromkeys(("ctx_generation_overruns_shift_false",), "context_overflow"),
    **dict.fromkeys(
        ("chat_token_repeat_abort_stream", "chat_white_space_repeat_abort_stream"), "invalid_output"
    ),
    **dict.fromkeys(("chat_missing_model", "chat_missing_model_nostream"), "model_missing"),
    **dict.fromkeys(("queue_full_cold_503", "queue_full_cold_503_stream"), "ollama_busy"),
    "chat_invalid_model_name": "invalid_request",
    **dict.fromkeys(("chat_tools_unsupported", "chat_to_embedding_model"), "invalid_request"),
    "chat_token_repeat_abort_nostream": "stream_broken",  # no stream: its chunks are not to be seen
    "chat_num_predict_0": DIED,  # no limit: the recording was cut off
    "0.24/ctx_chat_one_long_message_shift_false": "context_overflow",  # one token, and then full
}
#: The same of each exchange of `/api/embed`; "" for vectors.
EMBEDS = {
    **dict.fromkeys(("embed", "embed_string", "ctx_embed_long_default"), "invalid_request"),
    "0.24/embed_string": "",
    # No vector for one text: the service never sends an empty one.
    **dict.fromkeys(
        ("embed_empty", "embed_model_empty_list", "embed_model_empty_string"), "model_failed"
    ),
    "embed_model_no_input": "model_failed",
    **dict.fromkeys(("embed_wrong_type", "embed_model_wrong_type"), "model_failed"),
    "embed_missing_model": "model_missing",
    **dict.fromkeys(
        ("embed_model_long_truncate_false", "ctx_embed_long_truncate_false"), "context_overflow"
    ),
    "embed_model_list_with_empty": "context_overflow",
    "queue_full_embed_503": "ollama_busy",
    **dict.fromkeys(
        ("embed_model_string", "embed_model_dimensions", "embed_model_long_default"), ""
    ),
    "embed_model_batch": "",
}
#: Here the client hung up, so there is no end to replay.
LEFT = ("client_disconnect", "schema_pattern_never_ends", "schema_reversed_never_ends")


def recordings(path: str) -> Iterator[str]:
    """The recordings of a path, "0.24/" before those of that version."""
    for folder in ("", "0.24/"):
        for file in sorted((WIRE / folder).glob("*.json")):
            exchange = json.loads(file.read_text())
            if exchange["request"]["path"] == path and not file.stem.startswith(LEFT):
                yield f"{folder}{file.stem}"


CHATS = list(recordings("/api/chat"))


def response_of(name: str) -> dict[str, Any]:
    """What Ollama answered."""
    found: dict[str, Any] = json.loads((WIRE / f"{name}.json").read_text())["response"]
    return found


def end_of(name: str) -> str:
    """The code with which the engine has to end; "" for an answer."""
    response, stem = response_of(name), name.removeprefix("0.24/")
    if name in ENDS or stem in ENDS:
        return ENDS.get(name, ENDS.get(stem, ""))
    if "render" in stem:
        return "stream_broken"  # a prompt instead of an answer; we never ask for it
    if stem.endswith("_next"):
        return ""
    if "truncate_false" in stem or "shift_false" in stem or "between_trained" in stem:
        return "" if response["status"] == 200 else "context_overflow"
    if response["status"] is None or stem.startswith(("runner_", "serve_", "schema_")):
        return DIED
    return "" if response["status"] == 200 else "model_failed"


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[OllamaEngine]:
    """An engine that talks to the recording that the test names."""
    with Replay(response_of(request.param)) as server:
        made = OllamaEngine(Settings(ollama_host=server.host, model_name="smollm2:135m"))
        yield made
        made.close()


def test_both_versions_were_recorded() -> None:
    """The test below must not pass because it found little."""
    assert len([name for name in CHATS if name.startswith("0.24/")]) >= 40
    assert len(CHATS) >= 110


@pytest.mark.parametrize(("engine", "name"), [(name, name) for name in CHATS], indirect=["engine"])
def test_a_recorded_chat_ends_as_it_should(engine: OllamaEngine, name: str) -> None:
    """An answer is whole; an error is the right one, and a death is known as one."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    body = exchange["request"].get("body")
    body = body if isinstance(body, dict) else {}
    options = body.get("options")
    budget = options.get("num_predict") if isinstance(options, dict) else None
    schema = body.get("format") if isinstance(body.get("format"), dict) else None
    prompt = Prompt(({"role": "user", "content": "x"},), budget or 100_000, schema=schema)
    try:
        completion = engine.complete(prompt, model="smollm2:135m", remaining_seconds=30)
    except ServiceError as error:
        end = DIED if isinstance(error, EngineDied) else error.code
        assert end == end_of(name)
        return
    assert end_of(name) == ""
    lines = exchange["response"].get("lines") or [exchange["response"]["body_text"]]
    texts = [json.loads(line).get("message", {}).get("content", "") for line in lines]
    assert completion.text == "".join(texts)
    messages = [json.loads(line).get("message", {}) for line in lines]
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    assert [call["function"]["arguments"] for call in completion.tool_calls] == [
        call["arguments"] for call in calls
    ]


def test_every_recorded_embedding_is_among_them() -> None:
    """A new recording says what it means."""
    assert sorted(recordings("/api/embed")) == sorted(EMBEDS)


@pytest.mark.parametrize(("engine", "name"), [(name, name) for name in EMBEDS], indirect=["engine"])
def test_a_recorded_embedding_ends_as_it_should(engine: OllamaEngine, name: str) -> None:
    """Vectors are the server's, to the last digit; an error is the right one."""
    expected = response_of(name).get("body", {}).get("embeddings", [])
    texts = ToEmbed(("x",) * (len(expected) or 1))
    try:
        completion = engine.embed(texts, model="smollm2:135m", remaining_seconds=30)
    except ServiceError as error:
        end = error.code
        assert end == EMBEDS[name]
        return
    assert EMBEDS[name] == ""
    assert list(completion.vectors) == expected
    assert completion.prompt_tokens == response_of(name)["body"]["prompt_eval_count"]
