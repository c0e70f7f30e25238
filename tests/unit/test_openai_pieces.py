"""Whatever JSON a server sends as an event is read, and nothing breaks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local_llm_service.worker.engine.openai_compatible.client import Event
from local_llm_service.worker.engine.openai_compatible.errors import Refused
from local_llm_service.worker.engine.openai_compatible.piece import Halves, Piece
from local_llm_service.worker.engine.openai_compatible.said import Said
from local_llm_service.worker.engine.openai_compatible.stream import read_answer
from local_llm_service.worker.engine.written import TokenTimeouts
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.prompt import Prompt

#: Any value, with the names that mean something more often than others.
NAMES = st.sampled_from((
    "choices", "delta", "content", "tool_calls", "function", "arguments", "name", "index", "id",
    "usage", "prompt_tokens", "completion_tokens", "finish_reason", "logprobs", "error", "message",
    "code", "type", "refusal", "reasoning", "model", "detail", "loc", "param", "text",
))  # fmt: skip
TEXTS = st.text(st.characters(), max_size=5) | st.sampled_from(("stop", "\ud83d", "\ude00", "429"))
LEAVES = st.none() | st.booleans() | st.integers(-1, 500) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda of: st.lists(of, max_size=3) | st.dictionaries(NAMES, of, max_size=4)
)
DELTAS = st.dictionaries(NAMES, VALUES, max_size=4)
EVENTS = st.dictionaries(NAMES, VALUES, max_size=4) | st.builds(
    lambda delta, more: {"choices": [{"delta": delta, **more}]}, DELTAS, DELTAS
)


async def stream(events: list[Event]) -> AsyncGenerator[Event]:
    """These events."""
    for event in events:
        yield event


@given(st.lists(EVENTS, max_size=5), st.booleans())
def test_any_events_are_an_answer_or_an_error_of_ours(events: list[Event], wants: bool) -> None:
    """Never one of Python's; and what was heard is the answer, which UTF-8 can write."""
    prompt = Prompt(({"role": "user", "content": "x"},), 50, top_logprobs=0 if wants else None)
    heard: list[str] = []
    with suppress(ServiceError, Refused):
        read = asyncio.run(
            read_answer(
                stream(events), prompt, TokenTimeouts(5, 5), heard.append, "e", lambda: None
            )
        )
        assert read.completion.text == "".join(heard)
    assert all(heard)
    "".join(heard).encode()


@given(VALUES)
def test_any_body_of_an_error_is_read(body: Any) -> None:
    """And may be put into any message."""
    said = Said.of(400, body)
    assert isinstance(said.all, str)


@given(st.text(st.characters(), max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_a_text_cut_anywhere_comes_out_whole(text: str, places: list[int]) -> None:
    """Also between the halves of one character."""
    halves = text.encode("utf-16-le", "surrogatepass")
    units = [
        halves[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(halves), 2)
    ]
    cuts = sorted({0, len(units), *(place for place in places if place < len(units))})
    keeper, found = Halves(), ""
    for start, end in pairwise(cuts):
        found += keeper.add("".join(units[start:end]))
    whole = halves.decode("utf-16-le", "replace")
    assert whole.startswith(found)
    assert len(whole) - len(found) <= 1, "half a character at the end is left out"
    found.encode()


def test_content_may_come_in_parts() -> None:
    """Mistral's reasoning models write so; thoughts among them are no text."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Yes"}, "x"]
    assert Piece.of({"choices": [{"delta": {"content": parts}}]}).text == "Yes"
