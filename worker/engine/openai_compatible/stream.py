"""Reads one streamed answer of `/v1/chat/completions` to its end, or says how it failed.

An answer ends with a chunk that has a `finish_reason`, one with `usage`, and `data: [DONE]`. Not
every server sends all three: what has a reason is whole, and what has none but `[DONE]` too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from local_llm_service.worker.engine.openai_compatible.client import Event
from local_llm_service.worker.engine.openai_compatible.errors import FOREIGN, Refused
from local_llm_service.worker.engine.openai_compatible.piece import Halves, Piece
from local_llm_service.worker.engine.openai_compatible.said import MIDWAY, Said, count, is_error
from local_llm_service.worker.engine.openai_compatible.tool_calls import ToolCallPieces
from local_llm_service.worker.engine.protocol import TextSink
from local_llm_service.worker.engine.written import TokenTimeouts, Written, next_within
from local_llm_service.worker.errors import EngineTimeout, InvalidOutput, StreamBroken
from local_llm_service.worker.prompt import Completion, Prompt

#: More chunks in a row that are equal but for white space, and the model is lost. Ollama's own
#: guard has this limit; these servers have none.
REPEATED_CHUNKS: Final = 30
#: So many pieces more than tokens were allowed, thoughts and calls included, and the server does
#: not keep to its bound; nor does it with so many characters for each of these, as no token has.
UNBOUNDED_CHUNKS: Final = 64
UNBOUNDED_CHARACTERS: Final = 200
#: How long to wait for the counts once the answer has ended.
USAGE_SECONDS: Final = 5.0
_FILTERED: Final = "Ask in other words, or ask another model."
_LENGTH: Final = ("length", "max_tokens", "max_output_tokens", "model_length")
_BROKEN: Final = ("abort", "error", "cancelled", "insufficient_system_resource")


@dataclass(slots=True)
class _Answer:
    """What has come so far."""

    written: Written
    on_begun: Callable[[], None]
    began_at: float = field(default_factory=time.monotonic)
    first_at: float | None = None
    #: The last event had a token. How many have had one, and the characters in them.
    has_token: bool = False
    pieces: int = 0
    characters: int = 0
    #: There was a piece of an answer, though it may have been an empty one.
    has_choice: bool = False
    halves: Halves = field(default_factory=Halves)
    calls: ToolCallPieces = field(default_factory=ToolCallPieces)
    #: How thoughts, which are no part of the answer, repeat themselves.
    thoughts: Written = field(default_factory=Written)
    refusal: str = ""
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> str:
        """Keep what an event holds; returns its piece of the answer's text."""
        piece = Piece.of(event)
        self.model = piece.model or self.model
        self.usage = piece.usage or self.usage
        self.has_choice = self.has_choice or piece.is_choice
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.refusal += piece.refusal
        self.written.logprobs += piece.logprobs
        self.characters += self.calls.add(piece.tool_calls) + len(piece.text) + len(piece.thought)
        if piece.thought:
            self.thoughts.add(piece.thought)
        self.has_token = bool(piece.text or piece.thought or piece.tool_calls)
        if self.has_token:
            self._note_token()
        text = self.halves.add(piece.text)
        if text:
            self.written.add(text)
        return text

    def _note_token(self) -> None:
        self.pieces += 1
        if self.first_at is None:
            self.first_at = time.monotonic()
            self.on_begun()

    @property
    def has_begun(self) -> bool:
        """Whether a token has come."""
        return self.first_at is not None

    def check(self, text: str, most_tokens: int) -> None:
        """Raise InvalidOutput for what has no end."""
        most = most_tokens + UNBOUNDED_CHUNKS
        if self.pieces > most or self.characters > most * UNBOUNDED_CHARACTERS:
            raise self.written.stopped("the engine goes on after the tokens that it was allowed")
        if max(self.written.repeats, self.thoughts.repeats) > REPEATED_CHUNKS:
            raise self.written.repeated()
        self.written.check_json(text)


@dataclass(frozen=True, slots=True)
class Read:
    """One answer, read. `counted`: the server said its tokens; else they are its pieces.

    `ended`: the stream came to its end, so that a server which had not counted by then does not.
    """

    completion: Completion
    counted: bool
    ended: bool


async def read_answer(
    events: AsyncGenerator[Event],
    prompt: Prompt,
    timeouts: TokenTimeouts,
    on_text: TextSink,
    engine: str,
    on_begun: Callable[[], None],
) -> Read:
    """Collect the events into a Completion.

    Each piece of text goes to `on_text` as it comes, the one before a failure too. `on_begun` is
    called at the first token. Only tokens count for the timeouts: no progress, no empty piece.
    Raises EngineTimeout, InvalidOutput (repetition, JSON without end, a refusal), StreamBroken (no
    end), InvalidRequest (the server gives no log probabilities), Refused (an error event), and what
    the stream raises.
    """
    answer = _Answer(Written.for_prompt(prompt), on_begun)
    limit, waited_since = timeouts.first_seconds, answer.began_at
    while answer.finish_reason is None:
        event = await _next_event(events, answer, limit, waited_since, engine)
        if event is None:
            break
        if not event:  # [DONE]
            answer.finish_reason = _reason_without(answer, prompt)
            await _read_to_end(events)
            return _read(answer, prompt, engine, ended=True)
        if is_error(event):
            raise _midway(event, answer)
        text = answer.take(event)
        if text:
            on_text(text)
        if answer.finish_reason is None:
            answer.check(text, prompt.max_tokens)
        if answer.has_token:
            limit, waited_since = timeouts.then(prompt), time.monotonic()
    return _read(answer, prompt, engine, ended=await _read_usage(events, answer))


async def _next_event(
    events: AsyncGenerator[Event], answer: _Answer, limit: float, since: float, engine: str
) -> Event | None:
    """The next event within `limit` seconds from `since`; None at the end of the stream."""
    which = "next" if answer.has_begun else "first"
    try:
        return await next_within(events, limit, which, since=since)
    except StopAsyncIteration:
        return None
    except ValueError:
        if not answer.has_begun:
            raise
        raise StreamBroken(f"an event of {engine} broke off") from None


async def _read_usage(events: AsyncGenerator[Event], answer: _Answer) -> bool:
    """Read on for the counts; whether that came to the end of the stream.

    What goes wrong now, the answer is whole all the same; so it is where there is no end.
    """
    since = time.monotonic()
    try:
        while event := await next_within(events, USAGE_SECONDS, "last", since=since):
            answer.usage = Piece.of(event).usage or answer.usage
            if time.monotonic() - since > USAGE_SECONDS:
                return False
        await _read_to_end(events)
    except StopAsyncIteration:
        return True
    except EngineTimeout:
        return False
    except FOREIGN:
        return False
    return True


async def _read_to_end(events: AsyncGenerator[Event]) -> None:
    """Read the body to its end, so that its connection can serve the next request."""
    with suppress(EngineTimeout, StopAsyncIteration, *FOREIGN):
        await next_within(events, 0.2, "last")


def _midway(event: Event, answer: _Answer) -> Refused:
    """The error in an event. Before the first token it is like one instead of an answer."""
    said = Said.of(MIDWAY, event)
    if answer.has_begun:
        return Refused(said)
    is_status = said.code.isdecimal() and 400 <= int(said.code) < 600
    return Refused(Said.of(int(said.code) if is_status else 500, event))


def _reason_without(answer: _Answer, prompt: Prompt) -> str | None:
    """The reason of an answer that ended in order and says none; None where there was no answer."""
    if not answer.has_choice:
        return None
    written = count(answer.usage.get("completion_tokens")) or len(answer.written.chunks)
    return "length" if written >= prompt.max_tokens else "stop"


def _read(answer: _Answer, prompt: Prompt, engine: str, *, ended: bool) -> Read:
    written, reason = answer.written, answer.finish_reason
    if reason is None or reason in _BROKEN:
        raise StreamBroken(f"the answer of {engine} ended half-way")
    if reason == "content_filter":
        raise written.stopped(f"the content filter of {engine} held the answer back", _FILTERED)
    if answer.refusal and not written.chunks:
        written.add(answer.refusal)
        raise written.stopped("the model refused to answer", _FILTERED)
    written.check_logprobs(prompt, "Ask without them, or ask another model.")
    counted = count(answer.usage.get("prompt_tokens")) is not None
    now = time.monotonic()
    first_at = answer.first_at or now
    completion = Completion(
        text=written.text,
        model=answer.model,
        finish_reason=_finish_reason(reason),
        prompt_tokens=count(answer.usage.get("prompt_tokens")) or 0,
        completion_tokens=(
            count(answer.usage.get("completion_tokens")) or 0 if counted else len(written.chunks)
        ),
        load_seconds=0.0,
        prompt_seconds=first_at - answer.began_at,
        generation_seconds=now - first_at,
        tool_calls=_calls(answer),
        logprobs=tuple(_with_others(one, prompt.top_logprobs or 0) for one in written.logprobs),
    )
    return Read(completion, counted, ended)


def _with_others(entry: Mapping[str, Any], most: int) -> dict[str, Any]:
    """A log probability with as many of other tokens as the prompt asks for: see chat_body."""
    others = entry["top_logprobs"]
    return {**entry, "top_logprobs": others[:most] if isinstance(others, list) else []}


def _finish_reason(reason: str) -> Literal["stop", "length"]:
    return "length" if reason in _LENGTH else "stop"


def _calls(answer: _Answer) -> tuple[Any, ...]:
    try:
        return tuple(answer.calls.made())
    except (ValueError, RecursionError):
        error: InvalidOutput = answer.written.stopped("the arguments of a call are no JSON object")
    raise error
