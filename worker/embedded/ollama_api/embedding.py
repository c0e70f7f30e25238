"""What a POST /api/embed asks for, and the vectors that answer it, in Ollama's order and words."""

import math
import struct
import time
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api import go_json
from local_llm_service.worker.embedded.ollama_api.chat_request import DEFAULT_KEEP_ALIVE
from local_llm_service.worker.embedded.ollama_api.durations import keep_alive_nanoseconds
from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.model_host import ModelHost
from local_llm_service.worker.embedded.ollama_api.options import (
    RunnerProfile,
    parse_options,
)
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

TOO_LONG = "the input length exceeds the context length"
EMPTY = "input exceeds maximum context length and cannot be truncated further"
NOT_FOR_THIS = "This server does not support embeddings. Start it with `--embeddings`"
#: A text that is cut leaves room for a token at each end: 254 of 256 (recorded).
ENDS_TOKENS = 2

_REQUEST: go_json.Shape = {
    "model": ((str,), "string"),
    "truncate": ((bool,), "bool"),
    "dimensions": ((int,), "int"),
    "options": ((dict,), "map[string]interface {}"),
}


@dataclass(frozen=True)
class EmbedRequest:
    """A valid request. `dimensions` 0: all. `keep_alive` is in nanoseconds."""

    name: str
    model: smollm2.EmbeddedModel
    texts: tuple[str, ...]
    truncate: bool
    dimensions: int
    options: dict[str, Any]
    keep_alive: int


def parse_embed(body: bytes) -> EmbedRequest:
    """Read the request in `body`; ApiError 400 or 404."""
    given = go_json.read_object(body, "EmbedRequest", _REQUEST)
    value = given.get("input", [])
    texts = ([value] if value else []) if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, "invalid input type")
    name = given.get("model", "")
    model = smollm2.model_named(name)
    if model is None:
        raise ApiError(404, f'model "{name}" not found, try pulling it first')
    return EmbedRequest(
        name=name,
        model=model,
        texts=tuple(texts),
        truncate=given.get("truncate", True),
        dimensions=given.get("dimensions", 0),
        options=given.get("options", {}),
        keep_alive=keep_alive_nanoseconds(given.get("keep_alive", DEFAULT_KEEP_ALIVE)),
    )


async def embed(request: EmbedRequest, host: ModelHost) -> dict[str, Any]:
    """The body of the answer. `host` has the runner for what the model is made for."""
    begun = time.monotonic_ns()
    embeds = request.model.can("embedding")
    options = parse_options(request.options)
    profile = RunnerProfile(options.num_ctx, shift=True, embeds=embeds)
    answer: dict[str, Any] = {"model": request.name, "embeddings": []}
    async with host.use(profile, request.keep_alive) as runner:
        loaded = time.monotonic_ns() - begun
        host.model = request.name
        if not request.texts:
            return answer
        vectors, count = [], 0
        for text in request.texts:
            async with host.slot():
                tokens = await runner.tokenize(text)
                vectors.append(await _vector(request, runner, text, tokens, options.num_ctx))
            count += min(len(tokens), options.num_ctx - ENDS_TOKENS)
    total = time.monotonic_ns() - begun
    return {
        **answer,
        "embeddings": vectors,
        "total_duration": total,
        "load_duration": loaded,
        "prompt_eval_count": count,
    }


async def _vector(
    request: EmbedRequest, runner: LlamaClient, text: str, tokens: list[int], num_ctx: int
) -> list[float]:
    if len(tokens) > num_ctx and not request.truncate:
        raise ApiError(400, TOO_LONG)
    if not request.model.can("embedding"):
        raise ApiError(501, NOT_FOR_THIS)
    if not tokens:
        raise ApiError(400, EMPTY)
    is_cut = len(tokens) > num_ctx - ENDS_TOKENS
    vector = await runner.embed(tokens[: num_ctx - ENDS_TOKENS] if is_cut else text)
    if 0 < request.dimensions < len(vector):
        kept = vector[: request.dimensions]
        length = math.hypot(*kept) or 1.0
        vector = [number / length for number in kept]
    return [_shortest(number) for number in vector]


def _shortest(number: float) -> float:
    """The number with as few digits as tell it from every other one of 32 bits, as Go writes it."""
    wanted = struct.pack("f", number)
    for digits in range(6, 9):
        short = float(f"{number:.{digits}g}")
        if struct.pack("f", short) == wanted:
            return short
    return float(f"{number:.9g}")
