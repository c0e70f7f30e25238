"""`POST /v1/embeddings`: what is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local_llm_service.worker.engine.embedding import Vectors
from local_llm_service.worker.engine.openai_compatible.said import count


def vectors_body(model: str, texts: Sequence[str]) -> dict[str, Any]:
    """The body that asks for one vector for each text, in numbers and not in base64."""
    return {"model": model, "input": list(texts), "encoding_format": "float"}


def vectors_in(said: dict[str, Any], seconds: float) -> Vectors:
    """The vectors of an answer in the order of the texts. Raises ValueError for anything else."""
    data = said.get("data")
    if not isinstance(data, list):
        raise ValueError("no vectors")
    found = [_placed(one, place) for place, one in enumerate(data)]
    usage = said.get("usage")
    return Vectors(
        vectors=[vector for _, vector in sorted(found, key=lambda one: one[0])],
        model=said["model"] if isinstance(said.get("model"), str) else "",
        tokens=count((usage if isinstance(usage, dict) else {}).get("prompt_tokens")) or 0,
        load_seconds=0.0,
        seconds=seconds,
    )


def _placed(entry: Any, place: int) -> tuple[int, list[float]]:
    """One vector and its place; `index` says it, where a server has another order."""
    vector = entry.get("embedding") if isinstance(entry, dict) else None
    if not isinstance(vector, list) or not all(isinstance(n, int | float) for n in vector):
        raise ValueError("no vector")
    index = entry.get("index", place)
    return index if isinstance(index, int) else place, [float(number) for number in vector]
