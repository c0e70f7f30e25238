"""Reads one streamed answer to its end, or says how it failed to get there.

An answer ends with a record that has `done: true` (tests/wire/). Where that record is missing,
either Ollama's guard against repetition stopped the model (more than 30 chunks in a row that are
equal but for the white space around them), or the stream is broken; so is one that holds an error
line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import cast

from local_llm_service.worker.engine.ollama.client import NANOSECONDS, ChatRecord
from local_llm_service.worker.engine.ollama.errors import FOREIGN
from local_llm_service.worker.engine.protocol import TextSink
from local_llm_service.worker.engine.written import TokenTimeouts, Written, next_within, whole
from local_llm_service.worker.errors import StreamBroken
from local_llm_service.worker.prompt import Completion, Prompt

#: Ollama's own limit is 30. A run this long at the end of a stream means its guard, not a break.
REPEATED_CHUNKS = 25

#: How long to wait for the end of a body after its last record.
END_SECONDS = 0.2


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
    written = Written.for_prompt(prompt)
    limit, waiting_for = timeouts.first_seconds, "first"
    async with aclosing(cast(AsyncGenerator[ChatRecord], stream)) as records:
        while True:
            try:
                record = await next_within(records, limit, waiting_for)
            except StopAsyncIteration:
                raise _ended_early(written) from None
            _note(written, record)
            chunk = record.message.content
            if chunk:
                written.add(chunk)
                on_text(chunk)
            if record.done:
                await _read_to_end(records)
                return _completion(record, written, prompt, num_ctx)
            written.check_json(chunk or "")
            limit, waiting_for = timeouts.then(prompt), "next"


def _note(written: Written, record: ChatRecord) -> None:
    """Keep what a record holds beside its text."""
    for call in record.message.tool_calls or ():
        function = call.function
        written.tool_calls.append(
            {"function": {"name": function.name, "arguments": dict(function.arguments)}}
        )
    written.logprobs += record.logprobs or ()


async def _read_to_end(records: AsyncGenerator[ChatRecord]) -> None:
    """Read the body to its end, so that its connection can serve the next request.

    A new connection costs 1.4 ms of CPU. The end usually comes with the last record; if it does
    not, the answer is complete all the same.
    """
    with suppress(TimeoutError, StopAsyncIteration, *FOREIGN):
        async with asyncio.timeout(END_SECONDS):
            await anext(records)


def _ended_early(written: Written) -> Exception:
    if written.repeats >= REPEATED_CHUNKS:
        return written.repeated()
    return StreamBroken("Ollama's answer ended half-way")


def _completion(record: ChatRecord, written: Written, prompt: Prompt, num_ctx: int) -> Completion:
    written.check_logprobs(prompt, "Ask without them, or update Ollama.")
    completion = Completion(
        text=written.text,
        model=record.model or "",
        finish_reason="length" if record.done_reason == "length" else "stop",
        prompt_tokens=record.prompt_eval_count or 0,
        completion_tokens=record.eval_count or 0,
        load_seconds=(record.load_duration or 0) / NANOSECONDS,
        prompt_seconds=(record.prompt_eval_duration or 0) / NANOSECONDS,
        generation_seconds=(record.eval_duration or 0) / NANOSECONDS,
        tool_calls=tuple(written.tool_calls),
        logprobs=tuple(written.logprobs),
    )
    return whole(completion, prompt, num_ctx)
