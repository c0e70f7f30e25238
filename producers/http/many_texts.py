"""The vectors of more texts than one job takes: several jobs, the order kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.many_answers import answers
from local_llm_service.producers.http.replies import answer_headers
from local_llm_service.tasks.embed import MOST_TEXTS
from local_llm_service.worker.errors import InvalidRequest

#: Texts of one request, as in OpenAI's API. All their vectors are in memory, and in one reply.
MOST_TEXTS_OF_A_REQUEST = 2048
#: Vectors that are written before the event loop serves others: about 10 ms of work.
AT_ONCE = 32


@dataclass(frozen=True)
class Vectors:
    """One vector for each text, in their order.

    `prompt_tokens` counts what was evaluated: a known text costs nothing. `headers` are those of
    the first job's answer.
    """

    model: str
    vectors: list[list[float]] = field(repr=False)
    prompt_tokens: int
    load_seconds: float
    headers: Mapping[str, str]


async def vectors_of(call: Call, texts: str | Sequence[str], options: Mapping[str, Any]) -> Vectors:
    """Embed the texts. `options` are those of the kind `embed`, its `dimensions` too.

    Raises InvalidRequest, whose fields begin with `input`, and what `answers` raises.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not 0 < len(texts) <= MOST_TEXTS_OF_A_REQUEST:
        raise InvalidRequest(
            f"input: must be a text or 1 to {MOST_TEXTS_OF_A_REQUEST} texts, got {len(texts)}"
        )
    most_chars = call.service.settings.max_prompt_chars
    for place, text in enumerate(texts):
        # Each job would name the place among its own texts.
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequest(f"input.{place}: must be text, and not empty")
        if len(text) > most_chars:
            raise InvalidRequest(
                f"input.{place}: at most {most_chars} characters (MAX_PROMPT_CHARS), "
                f"got {len(text)}"
            )
    found = await answers(
        call,
        [Asked("embed", {**options, "input": part}) for part in parts_of(texts, most_chars)],
    )
    return Vectors(
        model=found[0]["model"],
        vectors=[vector for one in found for vector in one["embeddings"]],
        prompt_tokens=sum(one["usage"]["prompt_tokens"] for one in found),
        load_seconds=max(one["timings"]["load_seconds"] for one in found),
        headers=await answer_headers(call, found[0]),
    )


async def written(
    vectors: Sequence[Sequence[float]], entry: Callable[[int, Sequence[float]], Any]
) -> str:
    """A JSON list of what `entry` makes of each vector and its place.

    2,048 vectors of 1,024 numbers are seconds of work, in which others are served.
    """
    entries = []
    for place, vector in enumerate(vectors):
        if place % AT_ONCE == 0:
            await asyncio.sleep(0)
        entries.append(json.dumps(entry(place, vector), separators=(",", ":")))
    return f"[{','.join(entries)}]"


def parts_of(texts: Sequence[str], most_chars: int) -> Iterator[list[str]]:
    """The texts in parts that one job takes: so many texts, and so many characters together."""
    part: list[str] = []
    chars = 0
    for text in texts:
        if part and (len(part) == MOST_TEXTS or chars + len(text) > most_chars):
            yield part
            part, chars = [], 0
        part.append(text)
        chars += len(text)
    if part:
        yield part
