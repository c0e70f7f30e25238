"""The declaration of a route: what the router calls, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import BaseModel
from starlette.responses import Response

from local_llm_service.producers.http.call import Call

#: Errors of its operations have the body that Ollama's clients read.
OLLAMA_TAG = "Ollama"

Endpoint: TypeAlias = Callable[[Call], Awaitable[Response]]
#: A reply's body: JSON of a model, another media type, or one of several of these.
Body: TypeAlias = type[BaseModel] | str | tuple[type[BaseModel] | str, ...] | None


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    `body`, `query` and `answers` tell the OpenAPI document what the endpoint reads and replies;
    `answers` by status. A `public` one needs no API key. One that `streams_body` reads the
    request's body itself, which may be larger than MAX_BODY_BYTES.
    """

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    tag: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answers: Mapping[int, Body] = field(default_factory=dict)
    public: bool = False
    streams_body: bool = False
