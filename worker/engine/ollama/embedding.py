"""Turns texts into vectors, some at a time, so that a stop or a time-out loses little work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ollama import EmbedResponse

from local_llm_service.worker.engine.ollama.stream import NANOSECONDS
from local_llm_service.worker.errors import EngineTimeout, ModelFailed
from local_llm_service.worker.prompt import Completion, Vector

#: Texts of one request. Ollama runs as many at once as it has slots.
AT_ONCE = 16

Ask = Callable[[Sequence[str]], Awaitable[EmbedResponse]]


async def embed_texts(ask: Ask, texts: Sequence[str], most_seconds: float) -> Completion:
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
        vectors += _checked(answer, len(some))
        model, tokens = answer.model or model, tokens + (answer.prompt_eval_count or 0)
        load_seconds += (answer.load_duration or 0) / NANOSECONDS
        seconds += (answer.total_duration or 0) / NANOSECONDS
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


def _checked(answer: EmbedResponse, count: int) -> Sequence[Vector]:
    vectors = answer.embeddings
    sizes = {len(vector) for vector in vectors}
    if len(vectors) != count or len(sizes) != 1 or 0 in sizes:
        raise ModelFailed("Ollama returned something else than one vector for each text")
    return [list(vector) for vector in vectors]
