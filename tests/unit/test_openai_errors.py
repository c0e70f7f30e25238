"""What servers of `/v1` say of errors, in the forms of each, becomes one of ours and no words."""

import asyncio
import re
import time
from email.utils import formatdate
from typing import Any

import aiohttp
import httpx
import pytest
from httpx_sse import SSEError

from local_llm_service.worker import errors as ours
from local_llm_service.worker.engine import EngineDied, unknown_words
from local_llm_service.worker.engine.openai_compatible import errors as table
from local_llm_service.worker.engine.openai_compatible.errors import Refused, Translator
from local_llm_service.worker.engine.openai_compatible.overflow import Overflow
from local_llm_service.worker.engine.openai_compatible.retry_after import retry_after_seconds
from local_llm_service.worker.engine.openai_compatible.said import MIDWAY, Said
from local_llm_service.worker.errors import ContextOverflow, ServiceError
from tests.doubles import openai_errors as said

AT_HOME = Translator("engine 'box' at http://box:8000/v1", leaves_the_house=False)
AWAY = Translator("engine 'cloud' at https://cloud/v1", leaves_the_house=True)


def translated(
    error: tuple[int, Any], where: Translator = AWAY, seconds: float | None = None
) -> ServiceError:
    """What becomes of a server's error."""
    return where.translate(Refused(Said.of(*error), seconds), model="large")


REFUSALS = {
    "wrong key": (said.wrong_key(), ours.ModelFailed),
    "key may not": (said.openai(403, "Country not supported"), ours.ModelFailed),
    "no credit": (said.out_of_quota(), ours.ModelFailed),
    "payment required": (said.openai(402, "Insufficient Balance"), ours.ModelFailed),
    "too many requests": (said.rate_limited(), ours.OllamaBusy),
    "overloaded": (said.openai(503, "Model is overloaded"), ours.OllamaBusy),
    "Anthropic overloaded": (said.litellm(529, "Overloaded"), ours.OllamaBusy),
    "no model, OpenAI": (said.model_missing("large"), ours.ModelMissing),
    "no model, vLLM": (said.vllm_model_missing("large"), ours.ModelMissing),
    "no model, LiteLLM": (
        said.litellm(400, "/chat/completions: Invalid model name passed in model=large"),
        ours.ModelMissing,
    ),
    "wrong key, LiteLLM": (
        said.litellm(400, "No connected db.", kind="no_db_connection"), ours.ModelFailed,
    ),
    "no such path": ((404, {"detail": "Not Found"}), ours.ModelFailed),
    "no such method": ((405, {"detail": "Method Not Allowed"}), ours.ModelFailed),
    "held back": (said.content_filtered(), ours.InvalidRequest),
    "no embeddings, llama-server": (
        said.openai(501, "This server does not support embeddings."), ours.InvalidRequest,
    ),
    "no embeddings, vLLM": (
        said.vllm(400, "The model does not support Embeddings API"), ours.InvalidRequest,
    ),
    "no embeddings, LiteLLM": (
        said.litellm(400, "litellm.BadRequestError: Unmapped LLM provider for this endpoint. You "
                          "passed model=large, custom_llm_provider=ollama_chat."),
        ours.InvalidRequest,
    ),
    "too large": ((413, b""), ours.ContextOverflow),
    "elsewhere": ((307, b""), ours.ModelFailed),
    "a proxy": ((502, b""), ours.StreamBroken),
    "a proxy in time": ((504, b""), ours.StreamBroken),
    "a provider's trouble": (said.failed(500), ours.OllamaBusy),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_has_the_class_that_says_what_to_do(what: str) -> None:
    """And names the engine or the model; it has a hint of its own, not one about Ollama."""
    body, kind = REFUSALS[what]
    error = translated(body)
    assert type(error) is kind
    assert "cloud" in error.message or "large" in error.message
    assert error.hint
    assert "ollama" not in error.hint.lower()


@pytest.mark.parametrize("what", REFUSALS)
def test_no_word_of_a_server_is_passed_on(what: str) -> None:
    """It may quote the prompt or the key."""
    status, body = REFUSALS[what][0]
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body["error"]["message"] += f" {said.QUOTED} {said.QUOTED_KEY}"
    error = translated((status, body))
    assert not re.search(f"{said.QUOTED}|sk-proj", f"{error!r} {error.args} {error.hint}")


OVERFLOWS = {
    "OpenAI": said.openai_overflow(900, 500),
    "OpenAI, newer": said.openai_limit_overflow(900, 500),
    "vLLM, older": said.vllm_old_overflow(900, 100, 500),
    "vLLM": said.vllm_overflow(900, 100, 500),
    "llama-server": said.llama_server_overflow(900, 500),
    "llama-server, of embeddings": (
        500,
        {"error": {"code": 500, "type": "server_error", "message": "input (900 tokens) is too large"
                   " to process. increase the physical batch size (current batch size: 500)"}},
    ),
    "SGLang": said.sglang_overflow(900, 500),
    "SGLang, with the answer": said.sglang_answer_overflow(900, 100, 500),
    "LM Studio": said.lm_studio_overflow(900, 500),
    "LiteLLM": said.litellm_overflow(900, 500),
    "Gemini": said.litellm(
        400,
        "The input token count (900) exceeds the maximum number of tokens allowed (500).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("server", OVERFLOWS)
@pytest.mark.parametrize("where", [AT_HOME, AWAY], ids=["home", "away"])
def test_a_prompt_that_is_too_long_has_both_numbers(server: str, where: Translator) -> None:
    """In the words of each server."""
    error = translated(OVERFLOWS[server], where)
    assert isinstance(error, ContextOverflow)
    assert error.sizes == (900, 500)
    assert error.message.startswith(ContextOverflow.REFUSED)


@pytest.mark.parametrize(
    "error",
    [
        said.vllm_old_overflow(400, 200, 500),
        said.vllm_overflow(400, 200, 500),
        said.vllm_answer_overflow(400, 200, 500),
        said.sglang_answer_overflow(400, 200, 500),
    ],
)
def test_a_prompt_that_fits_leaves_room_for_an_answer(error: tuple[int, Any]) -> None:
    """Then the answer that was asked for is too long, not the prompt."""
    overflow = Overflow.of(Said.of(*error))
    assert overflow is not None
    assert overflow.room_for_answer(200) == 100
    assert overflow.room_for_answer(100) == 0, "that was asked for"


def test_an_overflow_without_numbers_is_one_all_the_same() -> None:
    """And no number is made up."""
    error = translated(said.openai(400, "too long", code="context_length_exceeded"))
    assert isinstance(error, ContextOverflow)
    assert error.sizes is None


@pytest.mark.parametrize(
    ("where", "kind"), [(AT_HOME, EngineDied), (AWAY, ours.StreamBroken)], ids=["home", "away"]
)
@pytest.mark.parametrize(
    "error",
    [
        Refused(Said.of(*said.vllm_died())),
        Refused(Said.of(MIDWAY, {"error": {"message": "EngineCore encountered an issue"}})),
        httpx.ReadError("peer closed"),
        httpx.RemoteProtocolError("incomplete"),
        aiohttp.ClientPayloadError("not all"),
    ],
)
def test_a_prompt_may_kill_a_server_at_home_and_none_elsewhere(
    where: Translator, kind: type[ServiceError], error: Exception
) -> None:
    """A death at home makes suspects (tasks/engine_death.py); a provider's does not."""
    assert type(where.translate(error, model="large")) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("no"), ours.OllamaUnreachable),
        (httpx.ConnectTimeout("no"), ours.OllamaUnreachable),
        (ConnectionRefusedError(), ours.OllamaUnreachable),
        (httpx.ProxyError("407"), ours.OllamaUnreachable),
        (httpx.UnsupportedProtocol("ftp"), ours.OllamaUnreachable),
        (httpx.WriteTimeout("slow"), ours.EngineTimeout),
        (SSEError("text/html"), ours.ModelFailed),
        (ValueError("no JSON"), ours.ModelFailed),
        (KeyError("bug"), ours.InternalError),
    ],
)
def test_what_goes_wrong_on_the_way_has_a_class(error: Exception, kind: type[ServiceError]) -> None:
    """What is unreachable was never asked, so that nothing has to be paid."""
    assert type(AWAY.translate(error, model="large")) is kind


def test_a_connection_cut_without_a_byte_is_no_timeout() -> None:
    """aiohttp's error looks like one of connecting, under httpx's interface."""

    async def cut() -> Exception:
        try:
            raise aiohttp.ServerDisconnectedError
        except aiohttp.ServerDisconnectedError as cause:
            error = httpx.ConnectTimeout("")
            error.__cause__ = cause
            return error

    assert type(AT_HOME.translate(asyncio.run(cut()), model="m")) is EngineDied


def test_unknown_words_fall_to_a_class_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By status and moment; at home the prompt may be the reason, so it is not asked again."""
    noted: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        unknown_words, "note", lambda status, *, midway, engine: noted.append((status, midway))
    )
    assert type(translated((418, {"error": "teapot"}))) is ours.ModelFailed
    assert type(translated(said.vllm(500, "oops"), AT_HOME)) is ours.ModelFailed
    assert type(translated((MIDWAY, {"error": "oops"}), AT_HOME)) is ours.StreamBroken
    assert noted == [(418, False), (500, False), (MIDWAY, True)]


def test_every_row_of_the_tables_is_tested_here_or_says_a_class_of_ours() -> None:
    """No row leads to a class that only the engine knows."""
    kinds = {row[2] for row in table._RESPONSES} | {row[1] for row in table._TRANSPORT}
    assert all(issubclass(kind, ServiceError) for kind in kinds)
    assert {kind for _, kind in REFUSALS.values()} >= kinds - {
        EngineDied, ours.OllamaUnreachable, ours.EngineTimeout,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """A number of seconds or of milliseconds, or a date; what is none is nothing."""
    assert retry_after_seconds(headers) == seconds


def test_retry_after_may_be_a_date_to_come() -> None:
    """In whole seconds, so that up to one is lost."""
    date = formatdate(time.time() + 30, usegmt=True)
    seconds = retry_after_seconds({"retry-after": date})
    assert seconds is not None
    assert 28 < seconds <= 30


def test_a_busy_server_says_when_to_ask_again() -> None:
    """tasks/retry.py pauses as long."""
    error = translated(said.rate_limited(), seconds=7.0)
    assert isinstance(error, ours.OllamaBusy)
    assert error.retry_after_seconds == 7.0


@pytest.mark.parametrize(
    ("body", "words", "param"),
    [
        (b"<html>502</html>", "", ""),
        (b"", "", ""),
        (b"[1]", "", ""),
        (b'{"error": null}', "", ""),
        (b'{"error": "in one text"}', "in one text", ""),
        (b'{"detail": "Not Found"}', "Not Found", ""),
        (b'{"detail": [{"loc": ["body", "top_k"], "type": "extra_forbidden", "msg": "no"}]}',
         "extra_forbidden: no", "top_k"),
        (b'{"error": {"message": {"a": 1}, "code": {}, "type": []}}', "", ""),
    ],
)  # fmt: skip
def test_any_body_of_an_error_is_read(body: bytes, words: str, param: str) -> None:
    """Also what a proxy puts there."""
    found = Said.read(422, body)
    assert (found.words, found.param) == (words, param)
