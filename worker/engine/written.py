"""What one answer has written so far, whichever server streams it; how long to wait for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from local_llm_service.worker.engine.json_watch import JsonWatch
from local_llm_service.worker.errors import (
    ContextOverflow,
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
)
from local_llm_service.worker.prompt import Completion, Prompt, ToolCall

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenTimeouts:
    """How long to wait for the first token, loading and prompt included, and for the next one."""

    first_seconds: float
    next_seconds: float

    def then(self, prompt: Prompt) -> float:
        """Seconds between two tokens. While a model writes a call, a server may say nothing
        (tests/wire/chat_tools_forced_stream.json)."""
        return self.first_seconds if prompt.tools else self.next_seconds


async def next_within(
    items: AsyncIterator[T], seconds: float, which: str, *, since: float | None = None
) -> T:
    """The next of a stream, within `seconds` from `since` (monotonic) or from now on.

    Raises StopAsyncIteration at its end, and EngineTimeout.
    """
    left = seconds if since is None else since + seconds - time.monotonic()
    try:
        async with asyncio.timeout(left):
            return await anext(items)
    except TimeoutError:
        raise EngineTimeout(f"no {which} token within {seconds:g} s") from None


@dataclass(slots=True)
class Written:
    """The answer so far, and how it repeats itself at its end."""

    watch: JsonWatch | None = None
    chunks: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    repeats: int = 0
    last: str = ""

    @classmethod
    def for_prompt(cls, prompt: Prompt) -> Written:
        """Nothing yet; JSON that a prompt wants is watched."""
        return cls(None if prompt.schema is None else JsonWatch(prompt.schema))

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.chunks)

    def add(self, chunk: str) -> None:
        """Keep one piece of text, and count how often the last one stands in a row."""
        # As Ollama's guard: white space of changing length is all the same to it.
        trimmed = chunk.strip()
        self.repeats = self.repeats + 1 if trimmed == self.last else 0
        self.last = trimmed
        self.chunks.append(chunk)

    def check_json(self, chunk: str) -> None:
        """Raise InvalidOutput if the JSON has no end."""
        if self.watch is not None and chunk and (wrong := self.watch.add(chunk)):
            raise self.stopped(f"the model wrote {wrong}")

    def stopped(self, message: str, hint: str | None = None) -> InvalidOutput:
        """The error of an answer that was stopped; nearly every chunk is one token."""
        error = InvalidOutput(message, hint)
        error.text, error.tokens = self.text, len(self.chunks)
        return error

    def repeated(self) -> InvalidOutput:
        """The error of an answer that goes on with one piece for ever."""
        return self.stopped("the model repeated itself without end")

    def check_logprobs(self, prompt: Prompt, hint: str) -> None:
        """Raise InvalidRequest if a prompt asked for log probabilities and there are none."""
        if prompt.top_logprobs is not None and self.chunks and not self.logprobs:
            raise InvalidRequest("logprobs: this model server gives none", hint)


def whole(completion: Completion, prompt: Prompt, room: int) -> Completion:
    """The completion itself. Raises ContextOverflow if the context cut it, not `max_tokens`."""
    if completion.finish_reason == "length" and completion.completion_tokens < prompt.max_tokens:
        used = completion.prompt_tokens + completion.completion_tokens
        what = "the answer ran into the end of the context window"
        error = ContextOverflow.of(what, used, room)
        error.tokens = completion.completion_tokens
        raise error
    return completion
