"""Streamed responses: dropped and resumed at any event, in any process, and what ends them."""

from __future__ import annotations

import threading
import time
from typing import Any

import openai
import pytest

from local_llm_service.producers.http.job_news import FIRST_PAUSE_SECONDS
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import ContextOverflow, ModelFailed
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.conftest import HttpSite, break_off, http_site

MODEL = "scripted:1b"
PIECES = [f"{number}ä😀 " for number in range(10)]


def begun(client: openai.OpenAI, **more: Any) -> str:
    """The id of a streamed background response, of which only the first event was read."""
    stream = client.responses.create(
        model=MODEL, input="Hello?", background=True, stream=True, **more
    )
    first = next(iter(stream))
    stream.close()
    assert first.type == "response.created"
    return first.response.id


def told(event: Any) -> str:
    """What an event adds to the text."""
    return str(event.delta) if event.type == "response.output_text.delta" else ""


def test_a_stream_that_is_dropped_at_every_event_goes_on(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """While the text is written, when it is there, and when only the answer has it."""
    client = http.openai()
    local_llm.stream(*PIECES, pause_seconds=0.02)
    response_id = begun(client)
    for times in range(3):
        read: list[Any] = []
        after = 0
        while not read or read[-1].type != "response.completed":
            stream = client.responses.retrieve(response_id, stream=True, starting_after=after)
            event = next(iter(stream))
            stream.close()
            assert event.sequence_number > after
            assert len(read) < 100
            after = event.sequence_number
            read.append(event)
        assert "".join(map(told, read)) == "".join(PIECES) == read[-1].response.output_text
        types = [event.type for event in read if told(event) == ""]
        assert types == [
            "response.queued",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        if times == 1:
            keys = process_store().keys
            names: Any = process_store().client.keys(f"{keys.text}*")
            process_store().client.delete(*names)
    assert list(client.responses.retrieve(response_id, stream=True, starting_after=after)) == []


def test_a_place_inside_a_piece_is_a_place(http: HttpSite, local_llm: LocalLLM) -> None:
    """Whether the text, or only the answer, is kept by then."""
    client = http.openai()
    local_llm.reply("".join(PIECES))
    response_id = begun(client)
    whole = list(client.responses.retrieve(response_id, stream=True))
    text = "".join(map(told, whole))
    for _ in range(2):
        for characters in range(1, len(text), 7):
            rest = client.responses.retrieve(
                response_id, stream=True, starting_after=4 + characters
            )
            assert text[:characters] + "".join(map(told, rest)) == text
        keys = process_store().keys
        names: Any = process_store().client.keys(f"{keys.text}*")
        if names:
            process_store().client.delete(*names)
    with client.responses.stream(response_id=response_id, starting_after=9) as stream:
        assert stream.get_final_response().output_text == text


def test_another_text_is_never_joined_to_the_first(http: HttpSite, local_llm: LocalLLM) -> None:
    """The engine is killed midway; the second run says something else."""
    client = http.openai()
    break_off(local_llm, "Hel", "lo").stream("Good", "bye.")
    read: list[Any] = []
    with pytest.raises(openai.APIError) as broken:
        read.extend(client.responses.create(model=MODEL, input="Hello?", stream=True))
    response_id, last = read[0].response.id, read[-1].sequence_number
    assert "".join(map(told, read)) == "Hello"
    assert broken.value.code == "stream_broken"
    with pytest.raises(openai.APIError) as again:
        list(client.responses.retrieve(response_id, stream=True, starting_after=last))
    assert again.value.code == "stream_broken"
    with client.responses.stream(response_id=response_id) as stream:
        final = stream.get_final_response()
    assert (final.status, final.output_text) == ("completed", "Goodbye.")
    anew = list(client.responses.retrieve(response_id, stream=True))
    for event in anew[:-1]:
        after = event.sequence_number
        rest = client.responses.retrieve(response_id, stream=True, starting_after=after)
        assert [one.sequence_number for one in rest][-1] == anew[-1].sequence_number
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.retrieve(response_id, stream=True, starting_after=990_000_007)
    assert unknown.value.param == "starting_after"


def test_the_same_text_from_another_run_goes_on(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    break_off(local_llm, "Hel", "lo").stream("Hel", "lo ", "you.")
    with client.responses.stream(model=MODEL, input="Hello?") as stream:
        deltas = "".join(map(told, stream))
        assert deltas == stream.get_final_response().output_text == "Hello you."


def test_a_failure_at_any_token_is_the_last_event(http: HttpSite, local_llm: LocalLLM) -> None:
    """And who wants the whole answer gets an exception."""
    client = http.openai()
    for tokens in range(4):
        pieces = ["one ", "two ", "three "][:tokens]
        local_llm.fail(ContextOverflow, *pieces)
        *_, last = client.responses.create(model=MODEL, input=f"{tokens}?", stream=True)
        assert last.type == "response.failed"
        error = last.response.error
        assert error is not None
        assert (last.response.status, error.type) == ("failed", "context_overflow")
        rest = client.responses.retrieve(last.response.id, stream=True, starting_after=2)
        *_, again = rest
        assert again.type == "response.failed"
    local_llm.fail(ContextOverflow, "one ")
    with (
        client.responses.stream(model=MODEL, input="Whole?") as stream,
        pytest.raises(RuntimeError),
    ):
        stream.get_final_response()
    local_llm.fail(ModelFailed)
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model=MODEL, input="Not streamed?")


def test_calls_come_in_the_stream(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    local_llm.reply_json({"city": "Bonn"})
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    with client.responses.stream(
        model=MODEL, input="Weather?", tools=[tool], tool_choice="required"
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    (call,) = final.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city": "Bonn"}')
    assert [event.type.removeprefix("response.") for event in events][3:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_cancelled_and_queued_are_told(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    with local_llm.held():
        response_id = begun(client)
        local_llm.wait_until_asked()
        stream = client.responses.retrieve(response_id, stream=True)
        events = iter(stream)
        assert [next(events).type for _ in range(3)][-1] == "response.in_progress"
        client.responses.cancel(response_id)
        *_, last = events
    assert last.type == "response.failed"
    assert last.response.status == "cancelled"
    wait_until(lambda: client.responses.retrieve(response_id).status == "cancelled", "cancelled")


def test_another_process_goes_on_where_one_has_ended(http: HttpSite, local_llm: LocalLLM) -> None:
    """The stream says that it is broken; the job runs on."""
    local_llm.stream(*PIECES, pause_seconds=0.05)
    read: list[Any] = []
    with http_site() as other:
        created = other.openai().responses.create(
            model=MODEL, input="Hello?", stream=True, background=True
        )
        for event in created:
            read.append(event)
            if told(event):
                break
        threading.Timer(0.05, other.stop).start()
        with pytest.raises(openai.APIError) as broken:
            read.extend(created)
        assert broken.value.code == "shutting_down"
    client, last = http.openai(), read[-1].sequence_number
    rest = client.responses.retrieve(read[0].response.id, stream=True, starting_after=last)
    read.extend(rest)
    assert "".join(map(told, read)) == "".join(PIECES) == read[-1].response.output_text
    numbers = [event.sequence_number for event in read]
    assert numbers == sorted(set(numbers))


@pytest.mark.local_llm(settings={"orphan_seconds": 0.4})
def test_a_response_is_there_for_all_who_read_it(http: HttpSite, local_llm: LocalLLM) -> None:
    """Outside the background it ends with the last of them."""
    client = http.openai()
    local_llm.stream(*PIECES, pause_seconds=0.12)
    first = client.responses.create(model=MODEL, input="Hello?", stream=True)
    created = next(iter(first))
    assert created.type == "response.created"
    second = client.responses.retrieve(created.response.id, stream=True)
    read = [next(iter(second))]
    first.close()
    read.extend(second)
    assert (read[-1].type, "".join(map(told, read))) == ("response.completed", "".join(PIECES))
    with local_llm.held():
        stream = client.responses.create(model=MODEL, input="Nobody?", stream=True)
        left = next(iter(stream))
        assert left.type == "response.created"
        stream.close()
        wait_until(
            lambda: client.responses.retrieve(left.response.id).status == "cancelled",
            "nobody reads it any more",
        )


def test_a_stream_outlives_a_redis_that_starts_anew(http: HttpSite, local_llm: LocalLLM) -> None:
    """Its text is waited for; that its job's state cannot be looked up meanwhile ends nothing."""
    local_llm.reply("Hello.")
    with local_llm.held():
        events = iter(http.openai().responses.create(model=MODEL, input="Hello?", stream=True))
        assert next(events).type == "response.created"
        local_llm.wait_until_asked()
        with local_llm.redis_away():
            time.sleep(FIRST_PAUSE_SECONDS + 0.3)  # what must not happen has that long to happen
    assert list(events)[-1].type == "response.completed"
