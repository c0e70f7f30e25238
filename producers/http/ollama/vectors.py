"""/api/embed, and the older /api/embeddings: texts as vectors."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.many_texts import Vectors, vectors_of, written
from local_llm_service.producers.http.ollama.bodies import EmbedBody, EmbeddingsBody
from local_llm_service.producers.http.ollama.choices import check, choices, left_out
from local_llm_service.producers.http.ollama.models import there
from local_llm_service.producers.http.ollama.records import NANOSECONDS
from local_llm_service.producers.http.replies import json_reply


async def embed(call: Call) -> Response:
    """One vector for each text. Without a text there is none, as in Ollama."""
    body = await call.read(EmbedBody)
    began_ns = time.monotonic_ns()
    if not body.input:
        await there(call.service, body.model)
        return json_reply({"model": body.model, "embeddings": []})
    found = await _vectors(call, body, body.input, body.dimensions)
    rest = {
        "total_duration": time.monotonic_ns() - began_ns,
        "load_duration": round(found.load_seconds * NANOSECONDS),
        "prompt_eval_count": found.prompt_tokens,
    }
    vectors = await written(found.vectors, lambda _, vector: vector)
    head = json.dumps({"model": body.model})
    content = f'{head[:-1]},"embeddings":{vectors},{json.dumps(rest)[1:]}'
    headers = {**found.headers, **left_out(body)}
    return Response(content, headers=headers, media_type="application/json")


async def embeddings(call: Call) -> Response:
    """The vector of one text."""
    body = await call.read(EmbeddingsBody)
    if not body.prompt:
        await there(call.service, body.model)
        return json_reply({"embedding": []})
    found = await _vectors(call, body, body.prompt, None)
    headers = {**found.headers, **left_out(body)}
    return json_reply({"embedding": found.vectors[0]}, headers=headers)


async def _vectors(
    call: Call, body: EmbedBody | EmbeddingsBody, texts: str | list[str], dimensions: int | None
) -> Vectors:
    await check(call.service, body)
    options: dict[str, Any] = {"model": body.model, **choices(call, body)}
    if dimensions:
        options["dimensions"] = dimensions
    return await vectors_of(call, texts, options)
