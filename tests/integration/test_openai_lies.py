"""What a faulty or hostile server of `/v1` can say, at the wire: it has bounds, and is never taken
for more than it is."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from local_llm_service.worker.errors import (
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    ServiceError,
    StreamBroken,
)
from tests.doubles.openai_calls import PROMPT, Open, ask, openai_engines, openai_server
from tests.doubles.openai_server import OpenAiServer, Reply

__all__ = ["openai_engines", "openai_server"]  # fixtures

#: Longer than any event may be.
LONG = 5_000_000


def written(*events: Any) -> bytes:
    """A stream of these events: text is written as it is, `None` ends it."""
    texts = ("[DONE]" if one is None else one for one in events)
    return "".join(
        f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in texts
    ).encode()


def said(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """An event of an answer."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def text(words: str, finish_reason: str | None = None) -> dict[str, Any]:
    """An event with text."""
    return said({"content": words}, finish_reason)


def call(arguments: str) -> dict[str, Any]:
    """An event with a piece of a call."""
    return said({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": arguments}}]})


def usage(prompt: Any, completion: Any) -> dict[str, Any]:
    """An event with counts."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def test_an_event_without_anything_is_not_the_end(server: OpenAiServer, open_engine: Open) -> None:
    """Else half an answer would be taken for all of it."""
    server.say(Reply(raw=written(text("one "), {}, text("two", "stop"), usage(3, 4), None)))
    assert ask(open_engine()).text == "one two"


@pytest.mark.parametrize(
    "raw",
    [b"data: " + b"x" * LONG, written(text("x" * LONG, "stop"), None), b"data: x\n" * (LONG // 2)],
)
def test_an_event_has_a_bound(server: OpenAiServer, open_engine: Open, raw: bytes) -> None:
    """Also a line without an end, and an event of many lines; the answer was begun and may cost."""
    server.say(Reply(raw=raw))
    with pytest.raises(ModelFailed) as caught:
        ask(open_engine())
    assert caught.value.was_begun


def test_a_compressed_stream_has_the_same_bound(server: OpenAiServer, open_engine: Open) -> None:
    """A few kilobytes may stand for gigabytes."""
    packed = gzip.compress(b"data: " + b"x" * (20 * LONG))
    server.say(Reply(raw=packed, headers=(("Content-Encoding", "gzip"),)))
    with pytest.raises(ModelFailed):
        ask(open_engine())


@pytest.mark.parametrize(
    "endless",
    [
        [said({"reasoning_content": f"thought {one} "}) for one in range(200)],
        [call(f'"k{one}": 1, ') for one in range(200)],
        [text("x " * 20_000)] * 5,
        [said({"reasoning_content": "x " * 20_000})] * 5,
        [call("x " * 20_000)] * 5,
    ],
)
def test_thoughts_and_calls_have_the_bound_of_an_answer(
    server: OpenAiServer, open_engine: Open, endless: list[Any]
) -> None:
    """A model that thinks for ever would be paid until the deadline."""
    server.say(Reply(raw=written(*endless), end="hang"))
    with pytest.raises(InvalidOutput, match="goes on after the tokens"):
        ask(open_engine())


@pytest.mark.parametrize("deep", ["[" * 50_000, '{"a":' * 50_000])
def test_an_event_may_not_be_too_deep(server: OpenAiServer, open_engine: Open, deep: str) -> None:
    """It is as broken as any other that cannot be read; so are arguments of a call."""
    server.say(Reply(raw=written(text("Well"), deep)))
    with pytest.raises(StreamBroken):
        ask(open_engine(leaves_the_house=True))
    server.say(Reply(raw=written(call(deep), said({}, "tool_calls"), None)))
    with pytest.raises(InvalidOutput):
        ask(open_engine(leaves_the_house=True), seconds=5)


@pytest.mark.parametrize("count", [0, -5, 1e30, 10**30, "12", [1], True, float("nan")])
def test_a_count_that_cannot_be_true_is_none(
    server: OpenAiServer, open_engine: Open, count: Any
) -> None:
    """What a model is paid goes by it."""
    server.say(Reply(raw=written(text("Hi.", "stop"), usage(count, count), None)))
    answer = ask(open_engine())
    assert (answer.prompt_tokens, answer.completion_tokens) == (0, 1)


@pytest.mark.parametrize("name", ["m" * 201, "a\tb\nc", 7, None])
def test_a_name_that_is_none_is_not_passed_on(
    server: OpenAiServer, open_engine: Open, name: Any
) -> None:
    """Callers see it, and lists hold it."""
    server.say(Reply(raw=written({**text("Hi.", "stop"), "model": name}, usage(3, 4), None)))
    assert ask(open_engine()).model == "large"


@pytest.mark.parametrize(
    ("reply", "has_begun"),
    [
        (Reply(raw=b"<html>"), True),
        (
            Reply(raw=written(said({"reasoning_content": "Hm."}), {"error": {"message": "no"}})),
            True,
        ),
        (Reply(status=400, error={"error": {"message": "no"}}), False),
        (Reply(status=429, error={"error": {"message": "no"}}), False),
    ],
)
def test_an_error_says_whether_an_answer_was_begun(
    server: OpenAiServer, open_engine: Open, reply: Reply, has_begun: bool
) -> None:
    """Only where it was not, nothing is paid."""
    server.respond = lambda _: reply
    with pytest.raises(ServiceError) as caught:
        ask(open_engine(leaves_the_house=True), PROMPT)
    assert caught.value.was_begun is has_begun


def test_a_refusal_in_unknown_words_is_the_requests_own_once_others_were_answered(
    server: OpenAiServer, open_engine: Open
) -> None:
    """Else a caller could have a model left alone by all, with three prompts that it refuses."""
    engine = open_engine(leaves_the_house=True)
    refused = Reply(status=400, error={"error": {"message": "no, and a secret"}})
    server.say(*[refused] * 2)  # once more without what is not in every server's list
    with pytest.raises(ModelFailed):
        ask(engine)
    ask(engine)
    server.say(refused)
    with pytest.raises(InvalidRequest, match="refuses this request") as caught:
        ask(engine)
    assert "secret" not in str(caught.value) + caught.value.hint
    assert not caught.value.was_begun
