"""A stream of `/v1/chat/completions` is read to its end; every other way out has an error."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from local_llm_service.worker.engine.openai_compatible.client import Event
from local_llm_service.worker.engine.openai_compatible.errors import Refused
from local_llm_service.worker.engine.openai_compatible.said import MIDWAY
from local_llm_service.worker.engine.openai_compatible.stream import (
    REPEATED_CHUNKS,
    Read,
    read_answer,
)
from local_llm_service.worker.engine.written import TokenTimeouts
from local_llm_service.worker.errors import (
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
    StreamBroken,
)
from local_llm_service.worker.prompt import JsonSchema, Prompt
from tests.doubles.openai_server import Reply, events

AMPLE = TokenTimeouts(first_seconds=10, next_seconds=10)
BODY: dict[str, Any] = {"model": "large", "messages": [], "stream_options": {"include_usage": True}}
SILENCE = "silence"


def prompt(**more: Any) -> Prompt:
    """A prompt whose budget, schema and tools alone matter."""
    return replace(Prompt(({"role": "user", "content": "x"},), 100), **more)


class Stream:
    """The events of a reply, or others; knows what the reader's sink got."""

    def __init__(self, source: Reply | Iterable[Any], **body: Any) -> None:
        given = events(source, BODY | body) if isinstance(source, Reply) else source
        self._events = list(given)
        self.heard: list[str] = []
        self.begun = 0

    async def __call__(self) -> AsyncGenerator[Event]:
        for event in self._events:
            if event == SILENCE:
                await asyncio.Event().wait()
            if isinstance(event, Exception):
                raise event
            yield {} if event == "[DONE]" else event

    def note(self) -> None:
        """The first token is there."""
        self.begun += 1


def read(
    source: Stream | Reply, asked: Prompt | None = None, timeouts: TokenTimeouts = AMPLE
) -> Read:
    """Read a stream as the engine does."""
    stream = source if isinstance(source, Stream) else Stream(source)
    return asyncio.run(
        read_answer(
            stream(), asked or prompt(), timeouts, stream.heard.append, "engine 'x'", stream.note
        )
    )


def piece(text: str | None, **more: Any) -> dict[str, Any]:
    """An event with a piece of text."""
    return {"choices": [{"index": 0, "delta": {"content": text}, **more}]}


def test_an_answer_has_its_text_reason_and_counts() -> None:
    """Each piece is heard as it comes, and the first token is told of once."""
    stream = Stream(Reply(("Par", "is", "."), prompt_tokens=12))
    found = read(stream)
    assert found.completion.text == "Paris."
    assert (found.completion.model, found.completion.finish_reason) == ("large", "stop")
    assert (found.completion.prompt_tokens, found.completion.completion_tokens) == (12, 3)
    assert stream.heard == ["Par", "is", "."]
    assert (stream.begun, found.counted, found.ended) == (1, True, True)


@pytest.mark.parametrize("reason", ["length", "max_tokens"])
def test_an_answer_may_be_cut(reason: str) -> None:
    """At its budget; what is cut by the context is for the engine to say."""
    assert read(Reply(finish_reason=reason)).completion.finish_reason == "length"


@pytest.mark.parametrize("usage", ["own", "with_finish"])
@pytest.mark.parametrize("end", ["done", "no_done"])
def test_the_counts_may_stand_in_either_chunk(usage: Any, end: Any) -> None:
    """With `[DONE]` behind them or without."""
    found = read(Reply(usage=usage, end=end, prompt_tokens=5))
    assert (found.completion.prompt_tokens, found.counted) == (5, True)


def test_without_counts_each_piece_is_a_token() -> None:
    """And the prompt has none: nobody is to compare it with what was sent."""
    found = read(Reply(("a", "b"), usage="never"))
    assert (found.completion.prompt_tokens, found.completion.completion_tokens) == (0, 2)
    assert (found.counted, found.ended) == (False, True)


@pytest.mark.parametrize("late", [httpx.ReadError("gone"), SILENCE, ValueError("half an event")])
def test_what_goes_wrong_after_the_reason_does_not_cost_the_answer(
    late: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole; that nothing was counted says nothing of the server."""
    monkeypatch.setattr(
        "local_llm_service.worker.engine.openai_compatible.stream.USAGE_SECONDS", 0.01
    )
    found = read(Stream([piece("Hi", finish_reason="stop"), late]))
    assert found.completion.text == "Hi"
    assert (found.counted, found.ended) == (False, False)


def test_a_stream_that_goes_on_after_the_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pause, too; else the whole answer would be lost to the deadline."""
    where = "local_llm_service.worker.engine.openai_compatible.stream.USAGE_SECONDS"
    monkeypatch.setattr(where, 0.05)

    async def endless() -> AsyncGenerator[Event]:
        yield piece("Hi", finish_reason="stop")
        while True:
            yield {"choices": []}

    async def answer() -> Read:
        begun = Stream([])
        return await read_answer(endless(), prompt(), AMPLE, print, "engine 'x'", begun.note)

    found = asyncio.run(answer())
    assert found.completion.text == "Hi"
    assert (found.counted, found.ended) == (False, False)


@pytest.mark.parametrize(("budget", "reason"), [(100, "stop"), (2, "length")])
def test_an_answer_that_ends_in_order_needs_no_reason(budget: int, reason: str) -> None:
    """Some servers leave it null to the end; at the budget it was cut."""
    found = read(Reply(("a", "b"), finish_reason=None), prompt(max_tokens=budget))
    assert found.completion.finish_reason == reason


@pytest.mark.parametrize("source", [Reply(end="silent"), Reply(("a",), finish_reason="abort"),
                                    [piece("a"), ValueError("half an event")], []])  # fmt: skip
def test_an_answer_without_an_end_is_broken(source: Any) -> None:
    """vLLM says `abort` where it gives a request up."""
    with pytest.raises(StreamBroken):
        read(source if isinstance(source, Reply) else Stream(source))


def test_what_is_no_event_at_the_start_is_no_broken_answer() -> None:
    """What answers there is another server."""
    with pytest.raises(ValueError, match="no JSON"):
        read(Stream([ValueError("no JSON")]))


def test_odd_chunks_are_no_text() -> None:
    """A null, an empty piece, a list of no choices, progress, and thoughts."""
    odd = [
        piece(None), piece(""), {"choices": []}, {"choices": None}, {"prompt_progress": {}},
        {"choices": [{"delta": None}]}, {"choices": [{"delta": {"reasoning_content": "Hm."}}]},
        {"choices": [{"delta": {"reasoning": "Hm."}}]}, {"usage": None},
    ]  # fmt: skip
    stream = Stream([*odd, piece("Yes"), piece("", finish_reason="stop"), "[DONE]"])
    assert read(stream).completion.text == "Yes"
    assert stream.heard == ["Yes"]


@pytest.mark.parametrize(
    ("before", "which"),
    [([], "first"), ([piece(None), piece("")], "first"), ([piece("a")], "next"),
     ([{"choices": [{"delta": {"reasoning_content": "Hm."}}]}], "next")],
)  # fmt: skip
def test_a_token_that_does_not_come_is_a_time_out(before: list[Any], which: str) -> None:
    """Empty chunks are no token, and thoughts are."""
    tiny = TokenTimeouts(0.02, 0.02)
    with pytest.raises(EngineTimeout, match=f"no {which} token"):
        read(Stream([*before, SILENCE]), timeouts=tiny)


def test_progress_does_not_put_the_time_out_off() -> None:
    """FIRST_TOKEN_SECONDS is the longest wait, whatever else comes meanwhile."""

    class Progressing(Stream):
        async def __call__(self) -> AsyncGenerator[Event]:
            while True:
                await asyncio.sleep(0.005)
                yield piece(None)

    with pytest.raises(EngineTimeout, match="first"):
        read(Progressing([]), timeouts=TokenTimeouts(0.05, 10))


def test_between_the_pieces_of_a_call_a_server_may_be_silent() -> None:
    """As long as before the first token: it writes the call first."""
    timeouts = TokenTimeouts(0.2, 0.001)

    class Slow(Stream):
        async def __call__(self) -> AsyncGenerator[Event]:
            async for event in super().__call__():
                await asyncio.sleep(0.005)
                yield event

    slow = Slow(Reply(tool_calls=(("f", {}),)))
    assert read(slow, prompt(tools=({"type": "function"},)), timeouts).completion.tool_calls


def test_calls_are_put_together_out_of_their_pieces() -> None:
    """By their places, whatever comes between."""
    given = (("weather", {"town": "Åre", "days": 2}), ("time", {}))
    found = read(Reply((), tool_calls=given)).completion
    assert [
        (one["function"]["name"], one["function"]["arguments"]) for one in found.tool_calls
    ] == (list(given))
    assert (found.text, found.finish_reason) == ("", "stop")


def calls(*pieces: dict[str, Any]) -> Stream:
    """A stream of such pieces of calls."""
    chunks = [{"choices": [{"delta": {"tool_calls": [one]}}]} for one in pieces]
    return Stream([*chunks, piece("", finish_reason="tool_calls"), "[DONE]"])


def test_calls_without_places_begin_with_an_id() -> None:
    """Gemini's, under OpenAI's API; and LM Studio may send the arguments as an object."""
    found = read(calls(
        {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
        {"function": {"arguments": ": 1}"}},
        {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
    )).completion  # fmt: skip
    assert [one["function"] for one in found.tool_calls] == [
        {"name": "f", "arguments": {"x": 1}},
        {"name": "g", "arguments": {"y": 2}},
    ]


@pytest.mark.parametrize("given", ['{"x": ', "[1]", "word"])
def test_arguments_that_are_no_object_break_the_answers_contract(given: str) -> None:
    """As small models write them."""
    with pytest.raises(InvalidOutput, match="arguments"):
        read(calls({"index": 0, "function": {"name": "f", "arguments": given}}))


def test_log_probabilities_are_those_of_the_tokens() -> None:
    """With the members that Ollama's have."""
    stream = Stream(Reply(("a", "b"), logprobs=(-0.5, -1.5)), logprobs=True, top_logprobs=1)
    found = read(stream, prompt(top_logprobs=1)).completion.logprobs
    assert [(one["token"], one["logprob"]) for one in found] == [("a", -0.5), ("b", -1.5)]
    assert found[0]["top_logprobs"]
    assert not read(stream, prompt(top_logprobs=0)).completion.logprobs[0]["top_logprobs"]


def test_log_probabilities_that_were_asked_for_and_do_not_come_are_an_error() -> None:
    """Silence would look like an answer of no tokens."""
    with pytest.raises(InvalidRequest, match="logprobs"):
        read(Reply(), prompt(top_logprobs=0))


@pytest.mark.parametrize("blank", ["more", " ", "\n"])
def test_a_model_that_repeats_itself_is_stopped(blank: str) -> None:
    """These servers have no guard of their own; white space may differ."""
    endless = Stream([piece(blank + " " * (n % 2)) for n in range(REPEATED_CHUNKS + 2)])
    with pytest.raises(InvalidOutput, match="repeated itself") as found:
        read(endless)
    assert found.value.text.startswith(blank)


def test_thoughts_that_repeat_themselves_are_stopped_too() -> None:
    """They cost as much."""
    thought = {"choices": [{"delta": {"reasoning_content": "wait"}}]}
    with pytest.raises(InvalidOutput, match="repeated itself"):
        read(Stream([thought] * (REPEATED_CHUNKS + 2)))


def test_a_run_as_long_as_the_limit_is_an_answer() -> None:
    """A line of a table may be so."""
    assert len(read(Reply(("-",) * (REPEATED_CHUNKS + 1))).completion.text) == REPEATED_CHUNKS + 1


@pytest.mark.parametrize("schema", [{"type": "object"}, True])
def test_json_without_end_is_stopped(schema: JsonSchema) -> None:
    """Whether the server knows of the schema or not."""
    with pytest.raises(InvalidOutput, match="without end"):
        read(
            Stream([piece("{"), *(piece(f"{' ' * n}\n") for n in range(60))]), prompt(schema=schema)
        )


def test_an_answer_that_a_filter_holds_back_is_none() -> None:
    """It was paid; the text before goes no further than the dead letter."""
    with pytest.raises(InvalidOutput, match="content filter") as found:
        read(Reply(("Well",), finish_reason="content_filter"))
    assert found.value.text == "Well"
    assert "Well" not in str(found.value.args)


def test_a_refusal_is_no_answer() -> None:
    """OpenAI writes it beside the text, so that nobody takes it for JSON."""
    stream = Stream(Reply((), refusal="I can't help."))
    with pytest.raises(InvalidOutput, match="refused"):
        read(stream)
    assert stream.heard == []


@pytest.mark.parametrize(
    ("before", "status"), [((), 429), (("Well",), MIDWAY)], ids=["before", "after"]
)
def test_an_error_in_the_stream_is_one_of_its_moment(before: Any, status: int) -> None:
    """Before the first token nothing was made; after it the answer is broken."""
    error = {"error": {"message": "Rate limit", "code": 429}}
    stream = Stream(Reply(before, end="error", error=error))
    with pytest.raises(Refused) as found:
        read(stream)
    assert found.value.said.status == status
    assert stream.heard == list(before)


def test_a_text_may_hold_any_character() -> None:
    """What JSON leaves as it is stays as it is."""
    text = "a\u2028b\u2029c\x85d\u0000e🙂"
    assert read(Reply((text,))).completion.text == text
    assert json.loads(json.dumps(text)) == text


def test_a_server_that_keeps_to_no_bound_is_stopped() -> None:
    """What it writes may cost money, which was booked for the tokens that were asked for."""
    endless = Stream([piece(f" {number}") for number in range(200)])
    with pytest.raises(InvalidOutput, match="goes on after the tokens"):
        read(endless, prompt(max_tokens=20))
    assert len(endless.heard) < 100


def test_what_comes_after_the_reason_is_no_part_of_the_answer() -> None:
    """No reader would get it: the answer has ended for them."""
    stream = Stream([piece("Yes", finish_reason="stop"), piece(" and no"), "[DONE]"])
    assert read(stream).completion.text == "Yes"
    assert stream.heard == ["Yes"]
