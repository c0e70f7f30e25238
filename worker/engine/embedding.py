"""Turns texts into vectors, some at a time, so that a stop or a time-out loses little work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from local_llm_service.worker.errors import EngineTimeout, ModelFailed
from local_llm_service.worker.prompt import Completion, Vector

#: Texts of one request. Ollama runs as many at once as it has slots.
AT_ONCE = 16
#: A vector whose length is further from 1 is brought to it.
_LENGTH_ERROR = 1e-3


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a server returned for some texts, unchecked; `seconds` are all, loading included."""

    vectors: Sequence[Vector]
    model: str
    tokens: int
    load_seconds: float
    seconds: float


Ask = Callable[[Sequence[str]], Awaitable[Vectors]]


async def embed_texts(
    ask: Ask, texts: Sequence[str], most_seconds: float, *, server: str = "Ollama"
) -> Completion:
    """All vectors, in the order of the texts, as a completion without text.

    Each request may take `most_seconds`, with loading. Raises EngineTimeout, ModelFailed (the
    server returns something else than one vector for each text), and what `ask` raises.
    """
    vectors: list[Vector] = []
    model, tokens, load_seconds, seconds = "", 0, 0.0, 0.0
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        try:
            async with asyncio.timeout(most_seconds):
                answer = await ask(some)
        except TimeoutError:
            raise EngineTimeout(f"no vectors within {most_seconds:g} s") from None
        vectors += _checked(answer.vectors, len(some), server)
        model, tokens = answer.model or model, tokens + answer.tokens
        load_seconds += answer.load_seconds
        seconds += answer.seconds
    return Completion(
        text="",
        model=model,
        finish_reason="stop",
        prompt_tokens=tokens,
        completion_tokens=0,
        load_seconds=load_seconds,
        prompt_seconds=max(0.0, seconds - load_seconds),
        generation_seconds=0.0,
        vectors=tuple(vectors),
    )


def _checked(vectors: Sequence[Vector], count: int, server: str) -> Sequence[Vector]:
    sizes = {len(vector) for vector in vectors}
    if len(vectors) != count or len(sizes) != 1 or 0 in sizes:
        raise ModelFailed(f"{server} returned something else than one vector for each text")
    return [_of_length_1(vector) for vector in vectors]


def _of_length_1(vector: Vector) -> list[float]:
    """The vector in its direction; nearly all servers send it so, vLLM as its model says."""
    length = math.hypot(*vector)
    if length == 0 or abs(length - 1) < _LENGTH_ERROR:
        return list(vector)
    return [number / length for number in vector]
