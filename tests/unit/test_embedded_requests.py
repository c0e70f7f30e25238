"""The embedded server reads and refuses requests as the real Ollama does."""

import json
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.embedded.ollama_api import go_json
from local_llm_service.worker.embedded.ollama_api.chat_request import (
    checked_format,
    checked_model,
    parse_chat,
)
from local_llm_service.worker.embedded.ollama_api.durations import (
    go_duration,
    keep_alive_nanoseconds,
)
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile, parse_options
from local_llm_service.worker.embedded.ollama_api.wire import (
    FOREVER_NANOSECONDS,
    NANOSECONDS,
    ApiError,
)

WIRE = Path(__file__).parents[1] / "wire"
REFUSED_WHILE_READ = [
    "chat_body_is_array",
    "chat_empty_body",
    "chat_invalid_model_name",
    "chat_keep_alive_bad",
    "chat_malformed_json",
    "chat_malformed_json_trailing_comma",
    "chat_messages_wrong_type",
    "chat_missing_model",
    "chat_no_model_field",
    "chat_not_json",
    "chat_options_wrong_type",
    "chat_think_unsupported",
    "chat_to_embedding_model",
    "chat_tools_unsupported",
    "chat_top_logprobs_out_of_range",
]


def recorded(name: str) -> tuple[bytes, dict[str, Any]]:
    """The request body and the response of one recording."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    request = exchange["request"]
    body = request["body_text"] if "body_text" in request else json.dumps(request["body"])
    return body.encode(), exchange["response"]


def chat_body(**fields: Any) -> bytes:
    """A valid body with `fields` added."""
    message = {"role": "user", "content": "hi"}
    return json.dumps({"model": "smollm2:135m", "messages": [message], **fields}).encode()


@pytest.mark.parametrize("name", REFUSED_WHILE_READ)
def test_a_bad_request_is_refused_in_the_recorded_words(name: str) -> None:
    """Status and wording are the same as in Ollama's refusal."""
    body, response = recorded(name)
    with pytest.raises(ApiError) as refusal:
        parse_chat(body)
    assert (refusal.value.status, refusal.value.message) == (
        response["status"],
        response["body"]["error"],
    )


@pytest.mark.parametrize("name", ["chat_format_invalid_string", "chat_format_number"])
def test_a_bad_format_is_refused_in_the_recorded_words(name: str) -> None:
    """`format` is "json" or an object; anything else is a 500, as recorded."""
    body, response = recorded(name)
    with pytest.raises(ApiError) as refusal:
        checked_format(parse_chat(body).format)
    assert refusal.value.status == response["status"]
    assert refusal.value.message == response["body"]["error"]


def test_an_option_of_a_wrong_type_is_a_500_as_recorded() -> None:
    """Ollama finds a wrong option only while it schedules the request, hence the 500."""
    body, response = recorded("chat_option_wrong_type")
    with pytest.raises(ApiError) as refusal:
        parse_options(parse_chat(body).options)
    assert refusal.value.status == response["status"]
    assert refusal.value.message == response["body"]["error"]


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ({"num_ctx": "1"}, "must be of type integer"),
        ({"use_mmap": 1}, "must be of type boolean"),
        ({"stop": "x"}, "must be of type array"),
        ({"stop": [1]}, "must be of an array of strings"),
        ({"seed": True}, "must be of type integer"),
        ({"top_p": float("inf")}, "must be of type float32"),
    ],
)
def test_an_option_names_the_type_it_wants(option: dict[str, Any], wanted: str) -> None:
    """The refusal names the option and the type."""
    with pytest.raises(ApiError, match=wanted):
        parse_options(option)


def test_unknown_fields_options_and_roles_are_silently_accepted() -> None:
    """Ollama ignores what it does not know."""
    body = chat_body(nosuch=1, messages=[{"role": "wizard", "content": "hi", "x": 1}])
    assert parse_chat(body).messages[0].role == "wizard"
    assert parse_options({"nosuch": "x"}) == parse_options({})


def test_nulls_count_as_absent() -> None:
    """A null keeps the default, as in Go."""
    request = parse_chat(chat_body(stream=None, options=None, truncate=None, keep_alive=None))
    assert request.stream is True
    assert request.truncate is True
    assert request.keep_alive == 300 * NANOSECONDS


def test_text_after_the_json_value_is_ignored() -> None:
    """Go's decoder stops after the first value."""
    assert parse_chat(chat_body() + b"}garbage").model == "smollm2:135m"


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": -Infinity}'])
def test_numbers_that_json_lacks_are_refused(text: bytes) -> None:
    """Python's reader would accept NaN and Infinity; Ollama does not."""
    with pytest.raises(ApiError, match="invalid character"):
        go_json.read_object(text, "ChatRequest", {})


def test_a_deeply_nested_body_is_refused_without_a_crash() -> None:
    """A body cannot exhaust the reader's stack."""
    with pytest.raises(ApiError) as refusal:
        go_json.read_object(b'{"a":' + b"[" * 200_000, "ChatRequest", {})
    assert refusal.value.status == 400


@pytest.mark.parametrize("num_predict", [0, -1, -2, None])
def test_num_predict_zero_or_less_means_no_limit(num_predict: int | None) -> None:
    """In Ollama `num_predict: 0` removes the limit; it does not mean "no token"."""
    assert parse_options({"num_predict": num_predict}).num_predict == -1


@pytest.mark.parametrize(
    ("asked", "given", "slot"), [(1, 4, 256), (128, 128, 256), (4096, 4096, 4096)]
)
def test_a_slot_is_at_least_as_long_as_the_context(asked: int, given: int, slot: int) -> None:
    """llama.cpp rounds a context up to 256 tokens; num_ctx below 4 means 4."""
    num_ctx = parse_options({"num_ctx": asked}).num_ctx
    assert (num_ctx, RunnerProfile(num_ctx, shift=True).slot_tokens) == (given, slot)


def test_num_ctx_is_clamped_to_the_models_trained_length() -> None:
    """A num_ctx above 8192 tokens is silently reduced."""
    assert parse_options({"num_ctx": 100_000}).num_ctx == 8192


def test_the_requests_stop_replaces_the_models_own() -> None:
    """Stop sequences in a request replace the model's; without any the model's stay."""
    assert parse_options({"stop": ["7"]}).stop == ("7",)
    assert "<|im_end|>" in parse_options({}).stop


@pytest.mark.parametrize(
    "name",
    [
        "smollm2:135m",
        "library/smollm2:135m",
        "registry.ollama.ai/library/smollm2:135m",
        "SmolLM2:135M",
    ],
)
def test_the_model_answers_to_all_its_names(name: str) -> None:
    """Host and namespace may be left out; case does not matter."""
    checked_model(name)


@pytest.mark.parametrize("name", ["smollm2", "smollm2:latest", "me/smollm2:135m"])
def test_another_model_is_a_404_that_names_it(name: str) -> None:
    """The bare name means `:latest`, which the server does not have."""
    with pytest.raises(ApiError, match=f"model '{name}' not found") as refusal:
        checked_model(name)
    assert refusal.value.status == 404


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("100ms", 0.1), ("0", 0), ("-1m", -60)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    """A duration is a sequence of numbers, each with its unit."""
    assert go_duration(text) == round(seconds * NANOSECONDS)


@pytest.mark.parametrize("text", ["soon", "5", "m", "", "5 m"])
def test_a_bad_duration_is_a_400(text: str) -> None:
    """The wording is the same as Go's time.ParseDuration."""
    with pytest.raises(ApiError, match="time: invalid duration"):
        go_duration(text)


def test_a_negative_keep_alive_means_forever() -> None:
    """-1 keeps the model loaded for Go's longest duration."""
    assert keep_alive_nanoseconds(-1) == FOREVER_NANOSECONDS
    assert keep_alive_nanoseconds("-1m") == FOREVER_NANOSECONDS
    assert keep_alive_nanoseconds(2) == 2 * NANOSECONDS


def test_no_messages_and_a_keep_alive_of_0_only_unload() -> None:
    """An empty chat loads the model unless keep_alive is 0."""
    assert parse_chat(chat_body(messages=[], keep_alive=0)).unloads
    assert not parse_chat(chat_body(messages=[])).unloads
