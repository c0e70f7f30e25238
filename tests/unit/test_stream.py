"""A streamed answer is read to its end, and every other way out has an error of its own."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ollama
import pytest

from local_llm_service.worker.engine.json_watch import MAX_WHITE_SPACE_RUN_CHARS
from local_llm_service.worker.engine.ollama.client import ChatRecord
from local_llm_service.worker.engine.ollama.stream import read_completion
from local_llm_service.worker.engine.written import TokenTimeouts
from local_llm_service.worker.errors import (
    ContextOverflow,
    EngineTimeout,
    InvalidOutput,
    StreamBroken,
)
from local_llm_service.worker.prompt import Completion, JsonSchema, Prompt

WIRE = Path(__file__).parents[1] / "wire"
AMPLE = TokenTimeouts(first_seconds=10, next_seconds=10)
#: The window of the recordings that fill one.
WINDOW = 128
TINY_SECONDS = 0.01

Source = Callable[[], AsyncGenerator[ChatRecord]]


def recording(name: str) -> dict[str, Any]:
    """One recorded exchange."""
    exchange: dict[str, Any] = json.loads((WIRE / f"{name}.json").read_text())
    return exchange


def records_of(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a stream; an unstreamed answer is a stream of one line."""
    response = exchange["response"]
    return [json.loads(line) for line in response.get("lines") or [response["body_text"]]]


def whole_answers() -> list[str]:
    """The recordings of chats that came to their end."""
    names = []
    for file in sorted(WIRE.glob("*.json")):
        exchange = recording(file.stem)
        if exchange["request"]["path"] != "/api/chat" or exchange["response"]["status"] != 200:
            continue
        if records_of(exchange)[-1].get("done_reason") in ("stop", "length"):
            names.append(file.stem)
    return [name for name in names if name != "ctx_generation_overruns_shift_false"]


def prompt(max_tokens: int = 100, schema: JsonSchema | None = None) -> Prompt:
    """A prompt whose budget and schema alone matter."""
    return Prompt(({"role": "user", "content": "x"},), max_tokens, schema=schema)


def record(text: str = "", **fields: Any) -> dict[str, Any]:
    """One line of a stream."""
    return {"message": {"role": "assistant", "content": text}, "done": False, **fields}


END = record(done=True, done_reason="stop", prompt_eval_count=3, eval_count=2)


class Stream:
    """A stream like the ollama client's that knows which records it gave and whether it is closed.

    `heard` is the text that the reader's sink got.
    """

    def __init__(self, records: Iterable[dict[str, Any]], then: Source | None = None) -> None:
        self._records, self._then = records, then
        self.closed = False
        self.given: list[str] = []
        self.heard: list[str] = []

    async def __call__(self) -> AsyncGenerator[ChatRecord]:
        try:
            for fields in self._records:
                if error := fields.get("error"):
                    raise ollama.ResponseError(error)
                self.given.append(fields["message"]["content"])
                yield ChatRecord(**fields)
            if self._then is not None:
                async for item in self._then():
                    yield item
        finally:
            self.closed = True


async def silence() -> AsyncGenerator[ChatRecord]:
    """A stream without a record and without an end."""
    await asyncio.Event().wait()
    yield ChatRecord(**END)


def read(
    stream: Stream, asked: Prompt | None = None, timeouts: TokenTimeouts = AMPLE
) -> Completion:
    """Read the stream as the engine does.

    In every case the stream is closed at the end, and the sink has every piece that arrived.
    """

    async def read_and_look() -> Completion:
        try:
            return await read_completion(
                stream(), asked or prompt(), timeouts, stream.heard.append, WINDOW
            )
        finally:
            # Checked here, because the end of the loop would close a stream that the reader forgot.
            assert stream.closed
            assert stream.heard == [piece for piece in stream.given if piece]

    completion = asyncio.run(read_and_look())
    assert "".join(stream.heard) == completion.text
    return completion


def test_there_are_recordings_of_whole_answers() -> None:
    """The tests over recordings must not pass because they found none."""
    assert {"chat_stream", "chat_native_stream", "chat_num_predict_reached_stream"} <= set(
        whole_answers()
    )


@pytest.mark.parametrize("name", whole_answers())
def test_a_recorded_answer_is_read_whole(name: str) -> None:
    """The text is in order; counts, reason and durations come from the last line."""
    exchange = recording(name)
    lines = records_of(exchange)
    last = lines[-1]
    budget = exchange["request"]["body"].get("options", {}).get("num_predict") or 100_000
    calls = [call["function"] for line in lines for call in line["message"].get("tool_calls", ())]
    assert read(Stream(lines), prompt(budget)) == Completion(
        text="".join(line["message"]["content"] for line in lines),
        model=last["model"],
        finish_reason=last["done_reason"],
        prompt_tokens=last["prompt_eval_count"],
        completion_tokens=last["eval_count"],
        load_seconds=last["load_duration"] / 1e9,
        prompt_seconds=last["prompt_eval_duration"] / 1e9,
        generation_seconds=last["eval_duration"] / 1e9,
        tool_calls=tuple(
            {"function": {"name": call["name"], "arguments": call["arguments"]}} for call in calls
        ),
        logprobs=tuple(token for line in lines for token in line.get("logprobs", ())),
    )


def test_a_known_recording_reads_as_a_person_reads_it() -> None:
    """This recording was read by hand, so that the test above cannot agree with a wrong reader."""
    completion = read(Stream(records_of(recording("chat_stream"))))
    assert completion.text == "1. Red\n2. Blue\n3. Green"
    assert (completion.prompt_tokens, completion.completion_tokens) == (13, 12)
    assert completion.finish_reason == "stop"
    assert completion.generation_seconds == pytest.approx(0.121816)


def test_the_callers_own_budget_ends_an_answer_with_length() -> None:
    """Reaching `num_predict` gives an answer, cut where the caller said."""
    completion = read(Stream(records_of(recording("chat_num_predict_reached_stream"))), prompt(5))
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 5)


@pytest.mark.parametrize(
    ("name", "asked", "failure"),
    [
        ("chat_num_predict_reached_stream", prompt(5), None),
        ("ctx_generation_overruns_shift_false", prompt(400), ContextOverflow),
        ("chat_token_repeat_abort_stream", prompt(), InvalidOutput),
        ("serve_stopped_midway_stream", prompt(), StreamBroken),
        ("runner_killed_midway_stream", prompt(), ollama.ResponseError),
    ],
)
def test_the_sink_has_the_text_before_any_end(
    name: str, asked: Prompt, failure: type[Exception] | None
) -> None:
    """A reader of the stream has seen a failed answer up to the failure."""
    lines = records_of(recording(name))
    stream = Stream(lines)
    with pytest.raises(failure) if failure is not None else nullcontext():
        read(stream, asked)
    came = [line["message"]["content"] for line in lines if "message" in line]
    assert "".join(stream.heard) == "".join(came) != ""


def test_an_empty_piece_is_not_passed_on() -> None:
    """The last line of a stream usually has no text."""
    stream = Stream([record("a"), record(""), record("b"), END])
    assert read(stream).text == "ab"
    assert stream.heard == ["a", "b"]


def test_text_in_the_last_record_is_passed_on_too() -> None:
    """An unstreamed answer is one record, which also ends it."""
    stream = Stream([END | {"message": {"role": "assistant", "content": "all of it"}}])
    assert read(stream).text == "all of it"
    assert stream.heard == ["all of it"]


def test_length_before_the_budget_is_a_full_context() -> None:
    """With `shift: false` a generation ends with "length" when the window is full."""
    overrun = Stream(records_of(recording("ctx_generation_overruns_shift_false")))
    with pytest.raises(ContextOverflow, match="256 tokens"):
        read(overrun, prompt(400))


def test_an_end_after_equal_tokens_is_repetition() -> None:
    """Ollama's guard ends the stream without a last line; another try would end the same way."""
    repeated = Stream(records_of(recording("chat_token_repeat_abort_stream")))
    with pytest.raises(InvalidOutput, match="repeated itself"):
        read(repeated)


@pytest.mark.parametrize("name", ["serve_stopped_midway_stream", "client_disconnect_stream"])
def test_an_end_in_the_middle_of_prose_is_a_broken_stream(name: str) -> None:
    """Without a last line or a repetition the answer is not whole and may be tried again."""
    with pytest.raises(StreamBroken):
        read(Stream(records_of(recording(name))))


def test_a_stream_of_nothing_is_a_broken_stream() -> None:
    """The response has status 200 and an empty body."""
    with pytest.raises(StreamBroken):
        read(Stream([]))


def test_repetition_that_has_ended_is_forgotten() -> None:
    """Only equal tokens at the very end are a sign of the guard."""
    with pytest.raises(StreamBroken):
        read(Stream([*[record(" ha")] * 40, record(" so")]))


def test_repetition_within_a_whole_answer_is_fine() -> None:
    """A row of dashes is not a failure as long as the end comes."""
    assert read(Stream([*[record("-")] * 60, END])).text == "-" * 60


def test_an_error_line_is_raised_as_the_client_raises_it() -> None:
    """A killed runner makes the last line of a 200 stream an error, which the seam translates."""
    killed = Stream(records_of(recording("runner_killed_midway_stream")))
    with pytest.raises(ollama.ResponseError, match="unexpected EOF"):
        read(killed)


@pytest.mark.parametrize("blank", [" ", "\n", "\t\n  "])
def test_endless_white_space_in_json_is_cut_off(blank: str) -> None:
    """A grammar allows it without limit, and the slot would be busy until the budget is used up."""
    flood = [record('{"a":'), *[record(blank)] * (MAX_WHITE_SPACE_RUN_CHARS + 1)]
    stream = Stream(flood, then=silence)
    with pytest.raises(InvalidOutput, match="white space"):
        read(stream, prompt(schema={"type": "object"}))
    assert len("".join(stream.heard).rstrip()) == len('{"a":')


def test_white_space_within_json_is_fine() -> None:
    """Indentation ends; the count starts again at the last visible character."""
    lines = [record("[1," + " " * 150), record("2]" + " " * 150), END]
    assert read(Stream(lines), prompt(schema={"type": "array"})).text.split() == ["[1,", "2]"]


def test_white_space_in_prose_is_fine() -> None:
    """Without a schema white space has no limit."""
    assert read(Stream([record(" " * 500), record("x"), END])).text.endswith("x")


def test_no_first_token_in_time_is_a_timeout() -> None:
    """Loading and prompt evaluation have a limit of their own."""
    stream = Stream([], then=silence)
    with pytest.raises(EngineTimeout, match=r"no first token within 0\.01 s"):
        read(stream, timeouts=TokenTimeouts(TINY_SECONDS, 10))


def test_no_next_token_in_time_is_a_timeout() -> None:
    """After the first token the other limit applies."""
    stream = Stream([record("x")], then=silence)
    with pytest.raises(EngineTimeout, match=r"no next token within 0\.01 s"):
        read(stream, timeouts=TokenTimeouts(10, TINY_SECONDS))


def test_a_whole_answer_closes_its_stream() -> None:
    """The connection is returned, although the reader stops at the last line."""
    stream = Stream([record("x"), END], then=silence)
    assert read(stream).text == "x"


def test_cancelling_the_reader_closes_the_stream() -> None:
    """Closing the connection stops Ollama's generation."""
    waiting = asyncio.Event()

    async def silence_that_is_noticed() -> AsyncGenerator[ChatRecord]:
        waiting.set()
        async for item in silence():
            yield item

    stream = Stream([record("x")], then=silence_that_is_noticed)

    async def cancel_midway() -> None:
        reader = asyncio.ensure_future(
            read_completion(stream(), prompt(), AMPLE, stream.heard.append, WINDOW)
        )
        await waiting.wait()
        assert stream.heard == ["x"]  # while the answer is still under way
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert stream.closed

    asyncio.run(cancel_midway())


def test_white_space_of_changing_length_is_repetition_too() -> None:
    """0.24's guard compares trimmed chunks: no two in a row are equal in this recording."""
    lines = records_of(recording("0.24/chat_white_space_repeat_abort_stream"))
    texts = [line["message"]["content"] for line in lines[-26:]]
    assert all(one != other for one, other in itertools.pairwise(texts))
    with pytest.raises(InvalidOutput, match="repeated itself"):
        read(Stream(lines), prompt(1000))


def whole_answers_of_024() -> list[str]:
    """The recordings with 0.24 of chats that came to their end."""
    found = []
    for file in sorted((WIRE / "0.24").glob("*.json")):
        exchange = recording(f"0.24/{file.stem}")
        if exchange["request"]["path"] != "/api/chat" or exchange["response"]["status"] != 200:
            continue
        if records_of(exchange)[-1].get("done_reason") in ("stop", "length"):
            found.append(file.stem)
    return found


@pytest.mark.parametrize("name", whole_answers_of_024())
def test_a_recorded_answer_of_024_is_read_whole(name: str) -> None:
    """Also where a duration is missing, and with white space after the JSON."""
    exchange = recording(f"0.24/{name}")
    lines = records_of(exchange)
    last = lines[-1]
    completion = read(Stream(lines), prompt(last["eval_count"]))
    assert completion.text == "".join(line["message"]["content"] for line in lines)
    assert completion.finish_reason == last["done_reason"]
    assert completion.completion_tokens == last["eval_count"]
    assert completion.generation_seconds == last.get("eval_duration", 0) / 1e9


def test_a_window_that_fills_up_in_024_is_an_overflow() -> None:
    """`shift: false` ends with "length" before the budget, one token past the window."""
    lines = records_of(recording("0.24/ctx_generation_overruns_shift_false"))
    with pytest.raises(ContextOverflow, match="129 tokens, room for 128"):
        read(Stream(lines), prompt(400))


def test_a_prompt_counts_whole_also_where_it_is_remembered() -> None:
    """What a server has of an earlier prompt it evaluates no more, and counts all the same.

    Counts of texts, and whether a prompt was cut, are read from this number.
    """
    first, again = (
        records_of(recording(f"chat_temp0_seed42_{which}"))[-1] for which in ("first", "second")
    )
    assert again["prompt_eval_duration"] < first["prompt_eval_duration"] / 10
    assert again["prompt_eval_count"] == first["prompt_eval_count"] == 15
