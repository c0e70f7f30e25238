"""What the engine says of its server, how often it asks that, and what it keeps to itself."""

from __future__ import annotations

import gc
import logging
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.errors import (
    InvalidSetting,
    ModelFailed,
    OllamaUnreachable,
    ServiceError,
)
from local_llm_service.worker.fleet.fleet import FleetModel
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.prompt import Prompt
from tests.doubles import openai_errors as said
from tests.doubles.openai_calls import Open, ask, openai_engines, openai_server
from tests.doubles.openai_server import OpenAiServer, Reply

__all__ = ["openai_engines", "openai_server"]  # fixtures

KEY = "sk-very-secret-0123456789"
SECRET = "the caller's own words"


def test_a_server_tells_its_version_and_its_models(server: OpenAiServer, open_engine: Open) -> None:
    """Without a digest, which no such server has."""
    engine = open_engine()
    assert engine.version() == "0.11.2"
    assert [(one.name, one.digest, one.context_tokens) for one in engine.models()] == [
        ("large", "", 131_072)
    ]
    assert not engine.capabilities.digests


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"meta": {"n_ctx": 2048, "n_ctx_train": 32_768}}, 2048),
        ({"meta": {"n_ctx_train": 32_768}}, 8192),
        ({"meta": {"n_ctx_train": 1024}}, 1024),
        ({"context_window": 9000}, 9000),
        ({"max_model_len": "many"}, 8192),
        ({}, 8192),
    ],
)
def test_a_context_is_what_the_server_says_or_num_ctx(
    server: OpenAiServer, open_engine: Open, facts: dict[str, Any], tokens: int
) -> None:
    """What a model was trained for is no more than a bound."""
    server.facts = facts
    assert open_engine({"num_ctx": 8192}).context_tokens("large") == tokens
    listed = (FleetModel("large", context_tokens=777),)
    assert open_engine(models=listed).context_tokens("large") == 777


def test_a_server_at_home_serves_what_it_lists(server: OpenAiServer, open_engine: Open) -> None:
    """A provider serves more than that, and llama-server whatever it is asked for."""
    models = (FleetModel("large"), FleetModel("gone"))
    at_home, away = open_engine(models=models), open_engine(models=models, leaves_the_house=True)
    assert [one.name for one in at_home.models()] == ["large"]
    assert [one.name for one in away.models()] == ["large", "gone"]
    assert "does not list gone" in " ".join(at_home.notes())
    server.facts = {"owned_by": "llamacpp", "meta": {"n_ctx": 512}}
    assert [one.name for one in open_engine(models=models).models()] == ["large", "gone"]


def test_llama_server_tells_its_progress_and_no_other_is_asked_for_it(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Else it goes on with a prompt whose client has gone; OpenAI refuses what it does not know."""
    engine = open_engine()
    engine.models()
    ask(engine)
    server.facts = {"owned_by": "llamacpp", "meta": {"n_ctx": 512}}
    engine = open_engine()
    engine.models()
    ask(engine)
    assert ["return_progress" in one.body for one in server.requests] == [False, True]


def test_a_provider_is_not_asked_all_the_time(server: OpenAiServer, open_engine: Open) -> None:
    """Presence asks every few seconds. Once a request has failed, it is asked again."""
    engine = open_engine(leaves_the_house=True)
    for _ in range(5):
        engine.version(), engine.models(), engine.context_tokens("large")
    assert len(server.asked) == 1
    server.say(Reply(end="cut"))
    with suppress(ServiceError):
        ask(engine)
    engine.version()
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [404, 403])
def test_a_provider_without_a_list_of_models_answers_all_the_same(
    server: OpenAiServer, open_engine: Open, status: int
) -> None:
    """Or with one that the key may not see: its models are those that the file names."""
    server.listed_status = status
    engine = open_engine(leaves_the_house=True, models=(FleetModel("large"),))
    assert engine.version()
    assert [one.name for one in engine.models()] == ["large"]
    assert engine.context_tokens("large") == 8192


def test_a_server_that_answers_with_something_else_is_not_there(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Say, another service on this port."""
    for status in (503, 403):
        server.listed_status = status
        with pytest.raises(ServiceError):
            open_engine().version()


def test_a_hanging_server_is_unreachable_after_three_seconds(
    server: OpenAiServer, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else asks meanwhile hears the same."""
    monkeypatch.setattr(
        "local_llm_service.worker.engine.openai_compatible.engine.PROBE_SECONDS", 0.1
    )
    server.listed_status = None
    engine = open_engine(leaves_the_house=True)
    for _ in range(2):
        with pytest.raises(OllamaUnreachable, match="does not answer"):
            engine.version()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("entry", "cheap"),
    [
        ({}, True),
        ({"leaves_the_house": True}, False),
        ({"models": (FleetModel("large", price=Price(Decimal(1), Decimal(2))),)}, False),
    ],
)
def test_a_prompt_is_counted_only_where_that_costs_nothing(
    server: OpenAiServer, open_engine: Open, entry: dict[str, Any], cheap: bool
) -> None:
    """Neither money nor that somebody else reads it."""
    assert open_engine(**entry).capabilities.counts_cheaply is cheap


def test_a_server_that_does_not_count_is_known_for_it(
    server: OpenAiServer, open_engine: Open
) -> None:
    """By its first answer; an answer that only lost its end does not say so."""
    engine = open_engine()
    ask(engine)
    assert engine.capabilities.counts
    server.say(Reply(usage="never"))
    assert ask(engine).prompt_tokens == 0
    assert not engine.capabilities.counts
    assert "how many tokens" in " ".join(engine.notes())


def test_the_key_goes_with_each_request_and_nowhere_else(
    server: OpenAiServer, open_engine: Open
) -> None:
    """A wrong one is a fault of the operator's, who is told where to look."""
    server.api_key = KEY
    engine = open_engine(api_key=KEY)
    assert ask(engine).text == "Hello."
    assert engine.models()
    wrong = open_engine(api_key="wrong")
    for call in (wrong.version, lambda: ask(wrong)):
        with pytest.raises(ModelFailed, match="does not take its key") as found:
            call()
        assert "api_key" in found.value.hint


def test_a_login_in_the_url_is_sent_as_one_and_masked(
    server: OpenAiServer, open_engine: Open
) -> None:
    """For a proxy before the engine; a key goes first."""
    url = server.url.replace("//", "//me:pass@")
    ask(open_engine(url=url))
    ask(open_engine(url=url, api_key=KEY))
    sent = [one.headers["authorization"] for one in server.requests]
    assert sent == ["Basic bWU6cGFzcw==", f"Bearer {KEY}"]
    server.stop()
    try:
        with pytest.raises(OllamaUnreachable, match=r"//\*\*\*@127") as found:
            open_engine(url=url).version()
    finally:
        server.start()
    assert "pass" not in str(found.value.args)


@pytest.mark.parametrize(("leaves", "heard"), [(True, 1), (False, 0)])
def test_only_what_leaves_the_house_goes_through_the_proxy(
    server: OpenAiServer,
    open_engine: Open,
    monkeypatch: pytest.MonkeyPatch,
    leaves: bool,
    heard: int,
) -> None:
    """A proxy is asked for the whole URL; a prompt that stays at home must not pass one."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    engine = open_engine(
        {"connect_seconds": 0.2}, url="http://engine.invalid/v1", leaves_the_house=leaves
    )
    with pytest.raises(ServiceError):
        ask(engine)
    assert server.asked == ["http://engine.invalid/v1/chat/completions"] * heard


def test_certificates_that_are_not_there_are_a_wrong_setting(
    open_engine: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Said at the start, and only to those who need certificates."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    open_engine(url="http://box:8000/v1")
    with pytest.raises(InvalidSetting, match="SSL_CERT_FILE"):
        open_engine(url="https://box:8000/v1")


def test_no_redirect_is_followed(server: OpenAiServer, open_engine: Open) -> None:
    """The key would go with it."""
    with OpenAiServer() as elsewhere:
        server.say(Reply(status=307, error={}, headers=(("Location", elsewhere.url),)))
        with pytest.raises(ModelFailed, match="not followed"):
            ask(open_engine(api_key=KEY))
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "reply",
    [
        Reply.fault(said.wrong_key()),
        Reply.fault(said.openai(400, f"{SECRET} {KEY}")),
        Reply.fault(said.openai(500, f"{SECRET} {KEY}")),
        Reply((SECRET,), end="error", error={"error": {"message": f"{SECRET} {KEY}"}}),
        Reply((SECRET,), end="cut"),
        Reply((SECRET,), finish_reason="content_filter"),
        Reply((f"{SECRET} ",) * 40),
        Reply(raw=f"data: {SECRET}{KEY}\n\n".encode()),
        Reply(raw=f"data: [{SECRET!r}]\n\n".encode()),
    ],
)
def test_neither_prompt_nor_answer_nor_key_gets_out(
    server: OpenAiServer, open_engine: Open, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in an error, its cause, or the log."""
    server.say(reply, reply)
    prompt = Prompt(({"role": "user", "content": SECRET},), 100)
    engine = open_engine(api_key=KEY, leaves_the_house=True)
    with caplog.at_level(logging.DEBUG, "local_llm_service"), pytest.raises(ServiceError) as found:
        ask(engine, prompt)
    told = [repr(found.value), str(found.value.args), repr(engine), caplog.text]
    error: BaseException | None = found.value
    while error is not None:
        told.append(repr(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert not [one for one in told if SECRET in one or KEY in one]


def test_a_key_over_plain_http_is_noted(server: OpenAiServer, open_engine: Open) -> None:
    """To a provider; at home it is the operator's affair."""
    away = open_engine(url="http://far.example/v1", api_key=KEY, leaves_the_house=True)
    assert "unencrypted" in " ".join(away.notes())
    assert open_engine(api_key=KEY).notes() == []
    assert open_engine(api_key=KEY, leaves_the_house=True).notes() == []  # a gateway on this host


def test_what_failed_is_not_kept_alive(server: OpenAiServer, open_engine: Open) -> None:
    """An error that is raised again and again grows no traceback, and holds no frames."""
    engine = open_engine(leaves_the_house=True)
    server.listed_status = 503
    for _ in range(50):
        with suppress(ServiceError):
            engine.version()
    gc.collect()
    last = engine._listing._last.error
    depth, frame = 0, None if last is None else last.__traceback__
    while frame is not None:
        depth, frame = depth + 1, frame.tb_next
    assert depth < 10
