"""Runs one chat on a llama runner: a checked request goes in, Ollama's records come out."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api import chatml, wire
from local_llm_service.worker.embedded.ollama_api.chat_request import ChatRequest, checked_format
from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.model_host import ModelHost
from local_llm_service.worker.embedded.ollama_api.options import (
    Options,
    RunnerProfile,
    parse_options,
)
from local_llm_service.worker.embedded.ollama_api.schema_check import (
    checked_schema,
    runner_error,
    schema_error,
)
from local_llm_service.worker.embedded.ollama_api.tool_calls import ToolCalls
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

MOST_REPEATS = 30
JSON_STARTS = frozenset('{["-0123456789tfn')
PROMPT_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)
NO_IMAGES = "Multimodal data provided, but model does not support multimodal requests."


async def chat(request: ChatRequest, host: ModelHost) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the records of the answer, in order. The last has `done` true and carries no text.

    More than 30 equal tokens in a row end the answer without that record, as in Ollama. Raises
    ApiError before the first record, or later if the runner dies.
    """
    begun = time.monotonic_ns()
    if request.unloads:
        yield wire.finished(wire.chunk(request.model, ""), "unload", {})
        await host.unload()
        return
    options = parse_options(request.options)
    profile = RunnerProfile(options.num_ctx, request.shift)
    async with host.use(profile, request.keep_alive) as runner:
        load_nanoseconds = time.monotonic_ns() - begun
        host.model = request.model
        if not request.messages:
            yield wire.finished(wire.chunk(request.model, ""), "load", {})
            return
        body = await completion_body(request, options, runner)
        async with (
            host.slot(),
            aclosing(runner.complete(body)) as events,
            aclosing(records(request, events)) as all_records,
        ):
            async for record in all_records:
                if record["done"]:
                    total = time.monotonic_ns() - begun
                    record |= {"total_duration": total, "load_duration": load_nanoseconds}
                yield record


async def completion_body(
    request: ChatRequest, options: Options, runner: LlamaClient
) -> dict[str, Any]:
    """Build the body for llama.cpp's /completion; ApiError 400 or 500 for a bad request."""
    schema = checked_format(request.format)
    if request.has_images:
        raise runner_error(400, NO_IMAGES)
    body = {
        **options.sampling,
        "prompt": await _prompt(request, options, runner),
        "n_predict": options.num_predict,
        "n_keep": options.num_keep,
        "stop": list(options.stop),
        "cache_prompt": True,
    }
    if schema is not None:
        body["json_schema"] = checked_schema(schema)
    if request.top_logprobs is not None:
        body["n_probs"] = max(request.top_logprobs, 1)
    return body


async def _prompt(request: ChatRequest, options: Options, runner: LlamaClient) -> str | list[int]:
    """Make the prompt fit, unless the caller forbids that (then llama.cpp refuses it)."""
    model = smollm2.model_named(request.model)
    has_calls = model is not None and model.can("tools")
    opening = chatml.offer(request.tools)
    write = chatml.turn_with_calls if has_calls else chatml.turn
    if not request.truncate:
        return chatml.render(request.messages, opening, write)
    room = options.num_ctx - (len(await runner.tokenize(opening)) if opening else 0)
    kept = await chatml.fitting(request.messages, room, runner.tokenize)
    prompt = chatml.render(kept, opening, write)
    tokens = await runner.tokenize(prompt)
    if len(tokens) <= options.num_ctx:
        return prompt
    if not request.shift:
        raise ApiError(400, PROMPT_TOO_LONG, late=True)
    return chatml.cut(tokens, options.num_ctx, options.num_keep)


async def records(
    request: ChatRequest, events: AsyncIterator[dict[str, Any]]
) -> AsyncGenerator[dict[str, Any], None]:
    """Turn llama.cpp's events into Ollama's records; total_duration and load_duration stay 0.

    Raises ApiError 400 when a format was asked for and the text does not begin like JSON: then
    llguidance could not use the schema, and nothing constrains the answer.
    """
    repeats, last, unchecked = 0, "", bool(request.format or request.format == {})
    tool_calls = ToolCalls({_name_of(tool) for tool in request.tools})
    async for event in events:
        text = event["content"]
        if text:
            if text.strip() == last:
                repeats += 1
            else:
                repeats, last = 0, text.strip()
            if repeats > MOST_REPEATS:
                return
            if unchecked and text[0] not in JSON_STARTS:
                raise schema_error("llguidance cannot use this schema")
            unchecked = False
            shown, calls = tool_calls.read(text)
            if shown or calls:
                logprobs = _logprobs(event, request.top_logprobs)
                yield wire.chunk(request.model, shown, logprobs, calls)
        if event["stop"]:
            if held := tool_calls.rest():
                yield wire.chunk(request.model, held)
            reason = "length" if event["stop_type"] == "limit" else "stop"
            yield wire.finished(wire.chunk(request.model, ""), reason, _counts(event))


def _name_of(tool: dict[str, Any]) -> str:
    return str((tool.get("function") or {}).get("name", ""))


def _counts(event: dict[str, Any]) -> dict[str, int]:
    timings = event["timings"]
    return {
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": event["tokens_evaluated"],  # cached tokens among them
        "prompt_eval_duration": _nanoseconds(timings["prompt_ms"]),
        "eval_count": event["tokens_predicted"],
        "eval_duration": _nanoseconds(timings["predicted_ms"]),
    }


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1000) * 1000


def _logprobs(event: dict[str, Any], wanted: int | None) -> list[dict[str, Any]]:
    if wanted is None or event["stop"]:
        return []
    found = []
    for token in event.get("completion_probabilities", []):
        entry = _logprob(token)
        if wanted:
            entry["top_logprobs"] = [_logprob(other) for other in token["top_logprobs"][:wanted]]
        found.append(entry)
    return found


def _logprob(token: dict[str, Any]) -> dict[str, Any]:
    return {"token": token["token"], "logprob": token["logprob"], "bytes": token["bytes"]}
