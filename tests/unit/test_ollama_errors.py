"""At the seam of errors, those of httpx, the ollama client and Ollama become errors of ours."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from ollama import ChatResponse

from local_llm_service.worker.engine.ollama.errors import FormatRefused, translate
from local_llm_service.worker.errors import InternalError, ModelMissing, ServiceError

WIRE = Path(__file__).parents[1] / "wire"
HOST = "http://gpu:11434"
MODEL = "smollm2:135m"
REFUSED_FORMAT = "format refused"

#: Every recorded refusal of `/api/chat` and its meaning. Add new recordings here.
REFUSALS = {
    "chat_body_is_array": "model_failed",
    "chat_empty_body": "model_failed",
    "chat_format_bad_pattern": REFUSED_FORMAT,
    "chat_format_bad_schema": REFUSED_FORMAT,
    "chat_format_bad_schema_stream": REFUSED_FORMAT,
    "chat_format_invalid_string": REFUSED_FORMAT,
    "chat_format_invalid_string_stream": REFUSED_FORMAT,
    "chat_format_number": REFUSED_FORMAT,
    "chat_format_ref_missing": REFUSED_FORMAT,
    "chat_images_unsupported": "model_failed",
    "chat_invalid_model_name": "invalid_request",
    "chat_keep_alive_bad": "model_failed",
    "chat_malformed_json": "model_failed",
    "chat_malformed_json_trailing_comma": "model_failed",
    "chat_messages_wrong_type": "model_failed",
    "chat_missing_model": "model_missing",
    "chat_missing_model_nostream": "model_missing",
    "chat_model_load_fails": "model_failed",
    "chat_model_load_fails_stream": "model_failed",
    "chat_native_format_bad_schema": REFUSED_FORMAT,
    "chat_no_model_field": "model_failed",
    "chat_not_json": "model_failed",
    "chat_option_wrong_type": "model_failed",
    "chat_options_wrong_type": "model_failed",
    "chat_think_unsupported": "model_failed",
    "chat_to_embedding_model": "invalid_request",
    "chat_tools_unsupported": "invalid_request",
    "chat_top_logprobs_out_of_range": "model_failed",
    "ctx_chat_long_history_truncate_false": "context_overflow",
    "ctx_chat_one_long_message_shift_false": "context_overflow",
    "ctx_chat_one_long_message_shift_false_stream": "context_overflow",
    "ctx_chat_one_long_message_shift_false_truncate_false": "context_overflow",
    "ctx_chat_one_long_message_truncate_false": "context_overflow",
    "ctx_chat_one_long_message_truncate_false_stream": "context_overflow",
    "method_not_allowed": "model_failed",
    "queue_full_cold_503": "ollama_busy",
    "queue_full_cold_503_stream": "ollama_busy",
    "runner_killed_midway_nostream": "stream_broken",
}

#: The meaning of transport exceptions; the other exceptions are only checked to be known.
TRANSPORT = [
    (httpx.ConnectError("refused"), "ollama_unreachable"),
    (httpx.ConnectTimeout("slow"), "ollama_unreachable"),
    (ConnectionError("the ollama client's own"), "ollama_unreachable"),
    (httpx.UnsupportedProtocol("ftp"), "ollama_unreachable"),
    (httpx.InvalidURL("[bad"), "ollama_unreachable"),
    (httpx.WriteTimeout("slow"), "timeout"),
    (httpx.ReadTimeout("slow"), "timeout"),
    (httpx.ReadError("reset"), "stream_broken"),
    (httpx.RemoteProtocolError("peer closed connection"), "stream_broken"),
    (httpx.StreamClosed(), "stream_broken"),
    (json.JSONDecodeError("Expecting value", "{", 1), "stream_broken"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "model_failed"),
]


def recording(name: str) -> dict[str, Any]:
    """One recorded exchange."""
    exchange: dict[str, Any] = json.loads((WIRE / f"{name}.json").read_text())
    return exchange


def recorded_refusals() -> set[str]:
    """The names of all recordings of a refusal by `/api/chat`."""
    return {
        file.stem
        for file in WIRE.glob("*.json")
        if (exchange := recording(file.stem))["request"]["path"] == "/api/chat"
        and (exchange["response"].get("status") or 0) >= 400
    }


def recorded_error_lines() -> list[str]:
    """Every error recorded as a line of a stream with status 200."""
    return [
        json.loads(line)["error"]
        for file in sorted(WIRE.glob("*.json"))
        for line in recording(file.stem)["response"].get("lines") or []
        if line.startswith('{"error"')
    ]


def refusal(name: str) -> ServiceError:
    """Our error for a recorded refusal, through the exception that the client raises."""
    response = recording(name)["response"]
    client_error = ollama.ResponseError(response["body_text"], response["status"])
    return translate(client_error, host=HOST, model=MODEL)


def exceptions_of(module: Any) -> list[type[Exception]]:
    """The exception classes that a package exports."""
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception)
    ]


def words_of(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from words_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from words_of(item)


@pytest.mark.parametrize(
    "kind", exceptions_of(httpx) + exceptions_of(ollama), ids=lambda kind: kind.__qualname__
)
def test_the_table_knows_every_error_of_the_client(kind: type[Exception]) -> None:
    """An update of httpx or ollama that adds an exception fails here, not in a job."""
    error = kind.__new__(kind)
    if isinstance(error, ollama.ResponseError):
        error.error, error.status_code = "any", 418
    assert not isinstance(translate(error, host=HOST, model=MODEL), InternalError)


def test_the_checked_trees_are_not_empty() -> None:
    """The test above must not pass because it found nothing."""
    assert {httpx.HTTPError, httpx.CookieConflict, httpx.StreamError} <= set(exceptions_of(httpx))
    assert set(exceptions_of(ollama)) == {ollama.RequestError, ollama.ResponseError}


@pytest.mark.parametrize(("error", "code"), TRANSPORT, ids=lambda case: type(case).__name__)
def test_a_transport_error_becomes_the_code_of_its_cause(error: Exception, code: str) -> None:
    """A missing, a slow and a broken server need three different remedies."""
    assert translate(error, host=HOST, model=MODEL).code == code


def test_an_unknown_exception_is_a_fault_of_ours_without_its_words() -> None:
    """The exception's text may quote a prompt; its type does not."""
    ours = translate(KeyError("a secret prompt"), host=HOST, model=MODEL)
    assert isinstance(ours, InternalError)
    assert "secret" not in repr(ours.args)
    assert "KeyError" in ours.message


def test_an_error_of_ours_passes_through() -> None:
    """An error that the stream reader raised needs no translation."""
    ours = ModelMissing("x")
    assert translate(ours, host=HOST, model=MODEL) is ours


def test_a_record_without_its_fields_is_not_from_ollama() -> None:
    """Another server answers at OLLAMA_HOST; the client's validation error says so at length."""
    with pytest.raises(ValueError, match="message") as refused:
        ChatResponse.model_validate({"text": "a secret answer"})
    ours = translate(refused.value, host=HOST, model=MODEL)
    assert ours.code == "model_failed"
    assert "secret" not in repr(ours.args)


def test_every_recorded_refusal_is_in_the_table_of_this_file() -> None:
    """A new recording needs a meaning here."""
    assert recorded_refusals() == set(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_recorded_refusal_becomes_its_code(name: str) -> None:
    """Status and Ollama's wording decide; the engine replaces a refused format by a looser one."""
    ours = refusal(name)
    assert (REFUSED_FORMAT if isinstance(ours, FormatRefused) else ours.code) == REFUSALS[name]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_recorded_refusal_quotes_nothing_of_the_request(name: str) -> None:
    """Ollama quotes schemas in its errors; ours contain neither messages nor schemas."""
    body = recording(name)["request"].get("body")
    fields = body if isinstance(body, dict) else {}
    written = {*words_of(fields.get("messages")), *words_of(fields.get("format"))}
    said = " ".join(refusal(name).args)
    assert [word for word in written if len(word) > 6 and word in said] == []


@pytest.mark.parametrize("status", [-1, 400, 401, 404, 405, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("wording", ["", "JSON schema conversion failed:\n", "model 'x' not found"])
def test_ollamas_own_words_are_not_passed_on(status: int, wording: str) -> None:
    """Ollama's words may quote a prompt, whatever the status."""
    text = json.dumps({"error": f"{wording} a secret prompt"})
    ours = translate(ollama.ResponseError(text, status), host=HOST, model=MODEL)
    assert "secret" not in repr(ours.args)


def test_error_lines_were_recorded() -> None:
    """The next test must not pass because it found nothing."""
    assert recorded_error_lines() != []


@pytest.mark.parametrize("text", recorded_error_lines())
def test_an_error_line_in_a_stream_is_a_broken_stream(text: str) -> None:
    """Status 200 was already sent; the client gives such a line the status -1."""
    ours = translate(ollama.ResponseError(text), host=HOST, model=MODEL)
    assert (ours.code, ours.retryable) == ("stream_broken", True)


@pytest.mark.parametrize("name", ["chat_missing_model", "chat_missing_model_nostream"])
def test_a_missing_model_comes_with_the_command_that_gets_it(name: str) -> None:
    """The hint can be pasted into a shell."""
    assert f"`ollama pull {MODEL}`" in refusal(name).hint


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("ctx_chat_long_history_truncate_false", 957),
        ("ctx_chat_one_long_message_truncate_false", 1219),
        ("ctx_chat_one_long_message_truncate_false_stream", 1219),
        ("ctx_chat_one_long_message_shift_false_truncate_false", 1219),
    ],
)
def test_an_overflow_says_by_how_much(name: str, tokens: int) -> None:
    """Ollama nests the counts as JSON inside its error text."""
    assert refusal(name).message.endswith(f": {tokens} tokens, room for 256")


def test_an_overflow_without_counts_is_still_an_overflow() -> None:
    """Only `shift: false` answers in prose."""
    ours = refusal("ctx_chat_one_long_message_shift_false")
    assert ours.message == "the prompt does not fit the context window"


def test_a_refused_schema_that_mentions_overflow_is_still_a_refused_format() -> None:
    """Ollama quotes the caller's schema; a word in it must not change the meaning."""
    inner = {"message": "JSON schema conversion failed:\nUnrecognized schema: "}
    inner["message"] += '{"type":"exceed_context_size_error"}'
    text = json.dumps({"error": json.dumps({"error": inner})})
    assert isinstance(
        translate(ollama.ResponseError(text, 400), host=HOST, model=MODEL), FormatRefused
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("chat_tools_unsupported", 'tool_choice "required"'),
        ("chat_to_embedding_model", "`ollama show MODEL`"),
        ("embed", 'model="nomic-embed-text"'),
    ],
)
def test_a_model_that_is_not_made_for_it_comes_with_what_to_do(name: str, hint: str) -> None:
    """Each of the three has another way out."""
    assert hint in refusal(name).hint


def test_an_error_about_a_model_named_grammar_is_not_a_refused_format() -> None:
    """Ollama begins some errors with the model's name, which may be any word."""
    text = json.dumps({"error": '"grammar-pattern:1b" does not support chat'})
    ours = translate(ollama.ResponseError(text, 400), host=HOST, model="grammar-pattern:1b")
    assert not isinstance(ours, FormatRefused)
    assert "does not write text" in ours.message


@pytest.mark.parametrize("body", ['{"error": {"message": "no"}}', "<html>502</html>", ""])
def test_an_error_that_is_not_ollamas_own_is_translated_too(body: str) -> None:
    """A proxy between worker and Ollama answers in its own shapes."""
    assert translate(ollama.ResponseError(body, 502), host=HOST, model=MODEL).retryable
