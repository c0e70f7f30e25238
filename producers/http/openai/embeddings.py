"""`POST /v1/embeddings`: vectors of texts, as numbers or as base64."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any, Final

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.many_texts import vectors_of, written
from local_llm_service.producers.http.openai.bodies import EmbeddingsBody
from local_llm_service.producers.http.openai.dialect import Dialect, queued
from local_llm_service.producers.http.openai.schemas import EmbeddingList
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.reading import as_object
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.prompt import Vector

EMBEDDINGS: Final = Dialect(taken=frozenset({"input", "dimensions", "encoding_format"}))


def asked_of(body: Any) -> Asked:
    """The call that a body asks for, with any number of texts. Raises InvalidRequest."""
    arguments = EMBEDDINGS.arguments_of(body)
    arguments.pop("encoding_format", None)
    arguments["input"] = _texts(arguments.get("input"))
    return Asked("embed", arguments)


def encoding_of(body: Mapping[str, Any]) -> str:
    """How vectors are to be written. Raises InvalidRequest."""
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise InvalidRequest('encoding_format: must be "float" or "base64"')
    return encoding or "float"


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest("input: must be a text or a list of texts")
    if any(isinstance(one, int | list) for one in texts):
        raise InvalidRequest(
            "input: must be text; the tokens of another model mean nothing here",
            "Send the text itself; in LangChain set check_embedding_ctx_length=False.",
        )
    return texts


def embedding_of(vector: Vector, place: int, encoding: str) -> dict[str, Any]:
    """The object `embedding` of one vector; base64 holds 32-bit floats, little-endian."""
    written: Any = vector
    if encoding == "base64":
        written = b64encode(pack(f"<{len(vector)}f", *vector)).decode()
    return {"object": "embedding", "index": place, "embedding": written}


def list_of(
    vectors: Sequence[Vector], model: str, prompt_tokens: int, encoding: str
) -> dict[str, Any]:
    """The object `list` of the vectors of one job."""
    data = [embedding_of(vector, place, encoding) for place, vector in enumerate(vectors)]
    return {"object": "list", "data": data, **_rest(model, prompt_tokens)}


def _rest(model: str, prompt_tokens: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"model": model, "usage": usage}


async def embeddings(call: Call) -> Response:
    """The vectors of a text or of several."""
    body = as_object(await call.json())
    encoding = encoding_of(body)
    asked = queued(call.caller, asked_of(body))
    options = {**asked.arguments}
    found = await vectors_of(call, options.pop("input"), options)
    data = await written(found.vectors, lambda place, one: embedding_of(one, place, encoding))
    rest = json.dumps(_rest(found.model, found.prompt_tokens))
    content = f'{{"object":"list","data":{data},{rest[1:]}'
    return Response(content, headers=found.headers, media_type="application/json")


OPERATION = Operation(
    "POST",
    "/v1/embeddings",
    embeddings,
    "Vectors of texts, for search and comparison",
    "OpenAI",
    body=EmbeddingsBody,
    answers={200: EmbeddingList},
)
