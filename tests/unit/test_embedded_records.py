"""llama.cpp's events become Ollama's records."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.embedded.ollama_api.chat_request import ChatRequest, parse_chat
from local_llm_service.worker.embedded.ollama_api.completion import records
from local_llm_service.worker.embedded.ollama_api.wire import ApiError, dumps, rfc3339

WIRE = Path(__file__).parents[1] / "wire"
FINAL = {
    "content": "",
    "stop": True,
    "stop_type": "eos",
    "tokens_evaluated": 13,
    "tokens_predicted": 2,
    "timings": {"prompt_ms": 1.5, "predicted_ms": 20.25},
}


def token(text: str, **fields: Any) -> dict[str, Any]:
    """The event of one generated token."""
    return {"content": text, "stop": False, **fields}


def translated(events: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """All records for `events`; `fields` are the request's."""
    message = {"role": "user", "content": "hi"}
    body = {"model": "smollm2:135m", "messages": [message], **fields}
    request: ChatRequest = parse_chat(json.dumps(body).encode())

    async def given() -> AsyncIterator[dict[str, Any]]:
        for event in events:
            yield event

    async def collect() -> list[dict[str, Any]]:
        return [record async for record in records(request, given())]

    return asyncio.run(collect())


def recorded_lines(name: str) -> list[dict[str, Any]]:
    """The streamed lines of a recording."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    return [json.loads(line) for line in exchange["response"]["lines"]]


def test_the_fields_come_in_the_recorded_order() -> None:
    """The first and the last line have exactly the fields that Ollama sends."""
    first, last = translated([token("1"), FINAL])
    lines = recorded_lines("chat_stream")
    assert list(first) == list(lines[0])
    assert list(last) == list(lines[-1])


def test_the_last_record_carries_no_text() -> None:
    """Text in the last event is sent in a record of its own."""
    found = translated([token("a"), {**FINAL, "content": "rest"}])
    assert [record["message"]["content"] for record in found] == ["a", "rest", ""]
    assert [record["done"] for record in found] == [False, False, True]


@pytest.mark.parametrize(
    ("stop_type", "reason"), [("eos", "stop"), ("word", "stop"), ("limit", "length")]
)
def test_the_reason_says_whether_the_answer_was_cut(stop_type: str, reason: str) -> None:
    """`length` means that num_predict or the end of the context cut the answer."""
    assert translated([{**FINAL, "stop_type": stop_type}])[-1]["done_reason"] == reason


def test_durations_are_in_nanoseconds() -> None:
    """llama.cpp counts milliseconds."""
    last = translated([FINAL])[-1]
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (1_500_000, 20_250_000)


def test_progress_of_the_prompt_gives_no_record() -> None:
    """Events that only keep the connection under watch are dropped."""
    assert len(translated([token("", prompt_progress={"total": 1}), FINAL])) == 1


def test_the_thirty_second_equal_token_ends_the_answer_without_a_last_record() -> None:
    """Ollama gives up after more than 30 repeats; white space around a token does not count."""
    found = translated([token("ha")] + [token(" ha")] * 40 + [FINAL])
    assert len(found) == 31
    assert not any(record["done"] for record in found)


def test_thirty_one_equal_tokens_are_still_an_answer() -> None:
    """The limit itself is allowed."""
    assert translated([token(" ha")] * 31 + [FINAL])[-1]["done"]


def test_text_where_json_was_asked_for_is_an_error() -> None:
    """llguidance silently drops a schema that it cannot use; the first character shows it."""
    with pytest.raises(ApiError, match="llguidance cannot use this schema"):
        translated([token("Sure!"), FINAL], format={"type": "object"})
    assert translated([token("{"), token("Sure!"), FINAL], format="json")[-1]["done"]


def test_logprobs_have_the_recorded_fields() -> None:
    """They are token, logprob and bytes; alternatives come without llama.cpp's ids."""
    one = {"id": 1, "token": "I", "bytes": [73], "logprob": -2.5}
    event = token("I", completion_probabilities=[{**one, "top_logprobs": [one, one]}])
    record = translated([event, FINAL], logprobs=True, top_logprobs=1)[0]
    recorded = recorded_lines("chat_logprobs_stream")[0]
    assert list(record) == list(recorded)
    assert list(record["logprobs"][0]) == list(recorded["logprobs"][0])
    assert len(record["logprobs"][0]["top_logprobs"]) == 1


def test_a_time_is_printed_as_go_prints_it() -> None:
    """It has nanoseconds without trailing zeros, even beyond the range of a platform's clock."""
    assert rfc3339(1_795_349_629_000_000_000) == "2026-11-22T12:13:49Z"
    assert rfc3339(1_795_349_629_120_000_000) == "2026-11-22T12:13:49.12Z"
    assert rfc3339(11_018_721_681_435_060_176).startswith("2319-03-04T")


def test_json_is_escaped_as_go_escapes_it() -> None:
    """<, > and & are escaped; other characters are not."""
    assert dumps({"a": "<é&>"}) == '{"a":"\\u003cé\\u0026\\u003e"}'
