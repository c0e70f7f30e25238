"""A server of `/v1` that refuses is waited for, learned from, or asked for less."""

from __future__ import annotations

import threading
import time

import pytest

from local_llm_service.worker.errors import (
    Cancelled,
    ContextOverflow,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
)
from local_llm_service.worker.fleet.fleet import FleetModel
from local_llm_service.worker.prompt import Prompt
from tests.conftest import wait_until
from tests.doubles import openai_errors as said
from tests.doubles.openai_calls import (
    PROMPT,
    Open,
    Stop,
    ask,
    openai_engines,
    openai_server,
)
from tests.doubles.openai_server import OpenAiServer, Reply

__all__ = ["openai_engines", "openai_server"]  # fixtures


def test_a_server_that_asks_for_a_moment_gets_it(server: OpenAiServer, open_engine: Open) -> None:
    """Within the call, as long as it is short."""
    busy = Reply.fault(said.rate_limited(), ("retry-after-ms", "20"))
    server.say(busy, busy, "Paris.")
    assert ask(open_engine()).text == "Paris."
    assert len(server.requests) == 3


@pytest.mark.parametrize("seconds", ["60", "2"])
def test_a_server_that_asks_for_long_is_left_alone(
    server: OpenAiServer, open_engine: Open, seconds: str
) -> None:
    """The job pauses so long, and does not hold its slot; nor is a deadline slept through."""
    server.say(Reply.fault(said.rate_limited(), ("Retry-After", seconds)))
    with pytest.raises(OllamaBusy) as found:
        ask(open_engine(), seconds=1.0)
    assert found.value.retry_after_seconds == float(seconds)
    assert len(server.requests) == 1


def test_a_stop_ends_the_wait_for_a_busy_server(server: OpenAiServer, open_engine: Open) -> None:
    """At once, as anything else."""
    server.say(Reply.fault(said.rate_limited(), ("Retry-After", "4")))
    stop, began_at = Stop(), time.monotonic()
    threading.Thread(
        target=lambda: (wait_until(lambda: server.requests, "it was asked"), stop.stop())
    ).start()
    with pytest.raises(Cancelled):
        ask(open_engine(), stoppable=stop)
    assert time.monotonic() - began_at < 3.5


def test_what_a_server_refuses_is_learned_once(server: OpenAiServer, open_engine: Open) -> None:
    """Three refusals of a reasoning model, which cost nothing; later calls meet none."""
    server.refuses = ("top_k", "max_tokens", "temperature")
    engine = open_engine(models=(FleetModel("large"),))
    assert [ask(engine).text for _ in range(2)] == ["Hello."] * 2
    assert len(server.requests) == 5
    assert "temperature" in " ".join(engine.notes())


def test_a_refusal_teaches_nothing_while_no_answer_proves_it(
    server: OpenAiServer, open_engine: Open
) -> None:
    """One caller's words in an error must not change what others are asked with."""
    refusal = Reply.fault(said.unsupported("seed"))
    server.say(refusal, Reply.fault(said.openai(400, "Bad request")))
    server.say(Reply.fault(said.openai(400, "Bad request")))
    engine = open_engine()
    with pytest.raises(ModelFailed):
        ask(engine)
    ask(engine)
    assert "seed" in server.requests[-1].body


def test_a_schema_that_is_refused_goes_out_looser(server: OpenAiServer, open_engine: Open) -> None:
    """Down to none: the service checks the answer anyway. The next schema is tried as it is."""
    ask(engine := open_engine())
    server.say(Reply.fault(said.schema_refused()), Reply.fault(said.vllm_grammar_refused()))
    asked = Prompt(PROMPT.messages, 100, schema={"type": "object"})
    ask(engine, asked)
    ask(engine, asked)
    forms = [(one.body.get("response_format") or {}).get("type") for one in server.requests]
    assert forms == [None, "json_schema", "json_object", None, "json_schema"]


def test_a_model_that_takes_no_tools_says_so(server: OpenAiServer, open_engine: Open) -> None:
    """The caller can do something about it."""
    server.refuses = ("tools",)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(InvalidRequest, match="tools: model 'large' of engine 'box'"):
        ask(open_engine(), Prompt(PROMPT.messages, 100, tools=(tool,)))


def test_an_answer_gets_the_room_that_the_prompt_leaves(
    server: OpenAiServer, open_engine: Open
) -> None:
    """vLLM refuses what Ollama would begin: an answer may end before the context does."""
    server.context_tokens = 50
    server.say("Short.", Reply(("a ", "b ") * 18, finish_reason="length"))
    engine = open_engine()
    assert ask(engine).text == "Short."
    assert server.requests[-1].body["max_tokens"] < 50
    with pytest.raises(ContextOverflow, match="the answer ran into the end") as found:
        ask(engine)
    assert found.value.sizes == (49, 50)


def test_a_prompt_that_does_not_fit_has_both_numbers(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Its own tokens, and those of the context; one request."""
    server.context_tokens = 10
    with pytest.raises(ContextOverflow) as found:
        ask(open_engine())
    assert found.value.sizes == (13, 10)
    assert len(server.requests) == 1


def test_a_model_that_is_not_there_is_missing(server: OpenAiServer, open_engine: Open) -> None:
    """At once."""
    with pytest.raises(ModelMissing, match="no model 'other'"):
        open_engine().complete(PROMPT, model="other", remaining_seconds=5)


def test_a_model_has_its_own_name_at_the_server(server: OpenAiServer, open_engine: Open) -> None:
    """Callers may use an alias, and full names."""
    engine = open_engine(models=(FleetModel("large", ("gpt",)),))
    for name in ("gpt", "gpt:latest", "large"):
        engine.complete(PROMPT, model=name, remaining_seconds=5)
    assert {one.body["model"] for one in server.requests} == {"large"}


def test_a_server_that_is_always_busy_is_left_in_the_end(
    server: OpenAiServer, open_engine: Open
) -> None:
    """As busy, however short the moments are for which it asks."""
    busy = Reply.fault(said.rate_limited(), ("retry-after-ms", "1"))
    server.respond = lambda _: busy
    with pytest.raises(OllamaBusy):
        ask(open_engine())
    assert 5 < len(server.requests) < 15


def test_a_server_that_refuses_whatever_it_is_sent_is_asked_a_few_times(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Each refusal teaches something, until nothing is left to leave out."""
    server.respond = lambda body: Reply.fault(said.unsupported(list(body)[-1]))
    with pytest.raises(ModelFailed):
        ask(open_engine())
    assert len(server.requests) < 10
