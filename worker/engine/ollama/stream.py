"""Reads one streamed answer to its end, or says how it failed to get there.

An answer ends with a record that has `done: true` (tests/wire/). Where that record is missing,
either Ollama's guard against repetition stopped the model (more than 30 chunks in a row that are
equal but for the white space around them), or the stream is broken; so is one that holds an error
line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from local_llm_service.worker.engine.ollama.client import ChatRecord
from local_llm_service.worker.engine.ollama.errors import FOREIGN
from local_llm_service.worker.engine.ollama.json_watch import JsonWatch
from local_llm_service.worker.engine.protocol import TextSink
from local_llm_service.worker.errors import (
    ContextOverflow,
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
    StreamBroken,
)
from local_llm_service.worker.prompt import Completion, Prompt, ToolCall

#: Ollama's own limit is 30. A run this long at the end of a stream means its guard, not a break.
REPEATED_CHUNKS = 25

NANOSECONDS = 1e9
#: How long to wait for the end of a body after its last record.
END_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class TokenTimeouts:
    """How long to wait for the first token, loading and prompt included, and for the next one."""

    first_seconds: float
    next_seconds: float


@dataclass(slots=True)
class _Text:
    """The answer so far, and how it repeats itself at its end."""

    chunks: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)
    repeats: int = 0
    last: str = ""

    def note(self, record: ChatRecord) -> None:
        """Keep what a record holds beside its text."""
        for call in record.message.tool_calls or ():
            function = call.function
            self.tool_calls.append(
                {"function": {"name": function.name, "arguments": dict(function.arguments)}}
            )
        self.logprobs += record.logprobs or ()

    def add(self, chunk: str) -> None:
        # As Ollama's guard: white space of changing length is all the same to it.
        trimmed = chunk.strip()
        self.repeats = self.repeats + 1 if trimmed == self.last else 0
        self.last = trimmed
        self.chunks.append(chunk)

    def stopped(self, message: str) -> InvalidOutput:
        """The error of an answer that was stopped; nearly every chunk is one token."""
        error = InvalidOutput(message)
        error.text, error.tokens = "".join(self.chunks), len(self.chunks)
        return error


async def read_completion(
    stream: AsyncIterator[ChatRecord],
    prompt: Prompt,
    timeouts: TokenTimeouts,
    on_text: TextSink,
    num_ctx: int,
) -> Completion:
    """Collect the stream into a Completion; closing it, on any way out, stops the generation.

    Each piece of text goes to `on_text` as it comes, the one before a failure too.
    Raises EngineTimeout, InvalidOutput (repetition, JSON without end), StreamBroken (no
    end), ContextOverflow (the window of `num_ctx` tokens was full before `max_tokens`),
    InvalidRequest (the server gives no log probabilities), and what the stream raises.
    """
    text = _Text()
    watch = None if prompt.schema is None else JsonWatch(prompt.schema)
    limit, waiting_for = timeouts.first_seconds, "first"
    # While a model writes a call, Ollama says nothing (tests/wire/chat_tools_forced_stream.json).
    next_seconds = timeouts.first_seconds if prompt.tools else timeouts.next_seconds
    async with aclosing(cast(AsyncGenerator[ChatRecord], stream)) as records:
        while True:
            try:
                async with asyncio.timeout(limit):
                    record = await anext(records)
            except StopAsyncIteration:
                raise _ended_early(text) from None
            except TimeoutError:
                raise EngineTimeout(f"no {waiting_for} token within {limit:g} s") from None
            text.note(record)
            chunk = record.message.content
            if chunk:
                text.add(chunk)
                on_text(chunk)
            if record.done:
                await _read_to_end(records)
                return _completion(record, text, prompt, num_ctx)
            if watch is not None and chunk and (wrong := watch.add(chunk)):
                raise text.stopped(f"the model wrote {wrong}")
            limit, waiting_for = next_seconds, "next"


async def _read_to_end(records: AsyncGenerator[ChatRecord]) -> None:
    """Read the body to its end, so that its connection can serve the next request.

    A new connection costs 1.4 ms of CPU. The end usually comes with the last record; if it does
    not, the answer is complete all the same.
    """
    with suppress(TimeoutError, StopAsyncIteration, *FOREIGN):
        async with asyncio.timeout(END_SECONDS):
            await anext(records)


def _ended_early(text: _Text) -> Exception:
    if text.repeats >= REPEATED_CHUNKS:
        return text.stopped("the model repeated itself without end")
    return StreamBroken("Ollama's answer ended half-way")


def _completion(record: ChatRecord, text: _Text, prompt: Prompt, num_ctx: int) -> Completion:
    if prompt.top_logprobs is not None and text.chunks and not text.logprobs:
        raise InvalidRequest(
            "logprobs: this model server gives none", "Ask without them, or update Ollama."
        )
    completion = Completion(
        text="".join(text.chunks),
        model=record.model or "",
        finish_reason="length" if record.done_reason == "length" else "stop",
        prompt_tokens=record.prompt_eval_count or 0,
        completion_tokens=record.eval_count or 0,
        load_seconds=(record.load_duration or 0) / NANOSECONDS,
        prompt_seconds=(record.prompt_eval_duration or 0) / NANOSECONDS,
        generation_seconds=(record.eval_duration or 0) / NANOSECONDS,
        tool_calls=tuple(text.tool_calls),
        logprobs=tuple(text.logprobs),
    )
    if completion.finish_reason == "length" and completion.completion_tokens < prompt.max_tokens:
        used = completion.prompt_tokens + completion.completion_tokens
        raise ContextOverflow.of("the answer ran into the end of the context window", used, num_ctx)
    return completion
