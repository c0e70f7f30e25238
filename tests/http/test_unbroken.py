"""Text that begins anew goes on where its reader is, or ends in an error; never half of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local_llm_service.producers.http.event_stream import unbroken
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import StreamBroken

END: StreamEvent[Any] = StreamEvent("end")


def read(runs: list[list[str]], given: str = "") -> tuple[str, StreamEvent[Any]]:
    """What a reader gets of runs, each the pieces of a text: the text, and the last event."""

    async def events() -> AsyncIterator[StreamEvent[Any]]:
        for number, pieces in enumerate(runs):
            if number:
                yield StreamEvent("restart")
            for piece in pieces:
                yield StreamEvent("text", piece)
        yield END

    async def told() -> list[StreamEvent[Any]]:
        return [event async for event in unbroken(events(), given)]

    found = asyncio.run(told())
    assert {event.type for event in found[:-1]} <= {"text"}
    return "".join(event.text for event in found[:-1]), found[-1]


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces that end at these places."""
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


pieces = st.builds(cut, st.just("naïve 🙂 text"), st.lists(st.integers(0, 14)))


@given(st.lists(pieces, min_size=1, max_size=4), st.integers(0, 12))
def test_a_run_that_says_the_same_goes_on(runs: list[list[str]], so_far: int) -> None:
    """Runs before the last may break off anywhere."""
    broken = [run[: len(run) // 2] for run in runs[:-1]]
    assert read([*broken, runs[-1]]) == ("naïve 🙂 text", END)
    text = "naïve 🙂 text"
    assert read([cut(text, [5])], "") == (text, END)
    rest, last = read([[text[so_far:]]], text[:so_far])
    assert (rest, last) == (text[so_far:], END)


@given(pieces, st.integers(1, 12), st.lists(st.integers(0, 14)))
def test_a_run_that_says_something_else_is_an_error(
    first: list[str], place: int, places: list[int]
) -> None:
    text = "naïve 🙂 text"
    other = cut(text[: place - 1] + "#" + text[place:], places)
    got, last = read([first, other])
    assert got == text
    assert last.type == "failed"
    assert isinstance(last.error, StreamBroken)


def test_an_answer_that_is_shorter_than_what_was_given_is_an_error() -> None:
    got, last = read([["abc", "def"], ["abc"]])
    assert (got, last.type) == ("abcdef", "failed")
    got, last = read([["abc"], []])
    assert (got, last.type) == ("abc", "failed")


def test_a_failure_stays_the_last_word() -> None:
    async def events() -> AsyncIterator[StreamEvent[Any]]:
        yield StreamEvent("text", "a")
        yield StreamEvent("restart")
        yield StreamEvent("failed", error=StreamBroken("x"))

    async def told() -> list[str]:
        return [event.type async for event in unbroken(events())]

    assert asyncio.run(told()) == ["text", "failed"]
