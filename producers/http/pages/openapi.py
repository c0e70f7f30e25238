"""The OpenAPI document, made of the operations and of the models that really check. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.pages.errors import SCHEMAS, error_responses, errors_of
from local_llm_service.producers.http.pages.examples import EXAMPLES, Example
from local_llm_service.producers.http.pages.schemas import Models
from local_llm_service.producers.http.pages.words import (
    ABOUT,
    ANSWER_HEADERS,
    MAKES,
    PATH_WORDS,
    REQUEST_HEADERS,
    STATUS_WORDS,
    TAG_WORDS,
)

Json = dict[str, Any]

#: Each event has a name, a place and data: no schema of 3.1 says what a stream of them holds.
EVENTS = "text/event-stream"

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_NO_EXAMPLE = Example()


def document(operations: Sequence[Operation], *, version: str, needs_key: bool) -> Json:
    """The whole document. `needs_key`: whether this service has API keys."""
    models = Models(operations)
    paths: dict[str, Json] = {}
    for one in operations:
        described = _Described(one, models, needs_key, links_of(one, operations)).as_json()
        paths.setdefault(shown_path(one), {})[one.method.lower()] = described
    used = [tag for tag in TAG_WORDS if any(one.tag == tag for one in operations)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Local LLM service",
            "version": version,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": tag, "description": TAG_WORDS[tag]} for tag in used],
        "security": [{"bearer": []}, {"x-api-key": []}] if needs_key else [{}],
        "paths": paths,
        "components": {
            "schemas": {**models.schemas, **SCHEMAS},
            "responses": error_responses(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def operation_id(operation: Operation) -> str:
    """Its name for those who make clients of the document."""
    words = f"{operation.method.lower()}{shown_path(operation)}"
    return re.sub(r"\W+", "_", words).strip("_")


def links_of(maker: Operation, operations: Iterable[Operation]) -> Json:
    """What can be asked of a thing that `maker` makes, by the id in its reply."""
    parameter = MAKES.get((maker.method, maker.path))
    found: Json = {}
    for one in operations if parameter else ():
        if parameter in parameters_of(one.path):
            found[operation_id(one)] = {
                "operationId": operation_id(one),
                "parameters": {parameter: "$response.body#/id"},
            }
    if parameter == "file_id":
        body = EXAMPLES["POST", "/v1/batches"].body
        found["post_v1_batches"] = {
            "operationId": "post_v1_batches",
            "requestBody": {**body, "input_file_id": "{$response.body#/id}"},
        }
    return found


def shown_path(operation: Operation) -> str:
    """The path as OpenAPI writes it: a parameter without starlette's converter."""
    return _PARAMETER.sub(r"{\1}", operation.path)


def parameters_of(path: str) -> list[str]:
    """The names of a path's parameters, in order."""
    return _PARAMETER.findall(path)


class _Described:
    """One operation as the document says it."""

    def __init__(self, operation: Operation, models: Models, needs_key: bool, links: Json) -> None:
        self._operation, self._models, self._needs_key = operation, models, needs_key
        self._links = links
        self._place = (operation.method, operation.path)
        self._example = EXAMPLES.get(self._place, _NO_EXAMPLE)

    def as_json(self) -> Json:
        one = self._operation
        found: Json = {
            "tags": [one.tag],
            "operationId": operation_id(one),
            "summary": one.summary,
            "parameters": [*self._path(), *self._query(), *self._headers()],
            "responses": {**self._answers(), **errors_of(one)},
        }
        if body := self._body():
            found["requestBody"] = body
        if one.public and self._needs_key:
            found["security"] = [{}]
        return {name: value for name, value in found.items() if value != []}

    def _path(self) -> Iterator[Json]:
        for name in parameters_of(self._operation.path):
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": PATH_WORDS.get(name, ""),
                "schema": {"type": "string", "minLength": 1},
                **_shown(self._example.path.get(name)),
            }

    def _query(self) -> Iterator[Json]:
        model = self._operation.query
        for name, schema, required in self._models.properties(model) if model else ():
            words = schema.get("description", "")
            plain = {key: value for key, value in schema.items() if key != "description"}
            yield {
                "name": name,
                "in": "query",
                "required": required,
                "description": words,
                "schema": plain,
                **_shown(self._example.query.get(name)),
            }

    def _headers(self) -> Iterator[Json]:
        for name, (words, schema) in REQUEST_HEADERS.get(self._place, {}).items():
            yield {"name": name, "in": "header", "description": words, "schema": schema}

    def _body(self) -> Json | None:
        one = self._operation
        if one.body is None:
            return None
        media_type = "multipart/form-data" if one.streams_body else "application/json"
        schema = self._models.reference(one.body, "validation")
        media = {"schema": schema, **_shown(self._example.body)}
        return {"required": True, "content": {media_type: media}}

    def _answers(self) -> Json:
        answers = self._operation.answers or {200: None}
        return {str(status): self._answer(status, body) for status, body in answers.items()}

    def _answer(self, status: int, body: Any) -> Json:
        parts = body if isinstance(body, tuple) else (body,)
        content = dict(self._content(one) for one in parts if one is not None)
        headers = ANSWER_HEADERS if status < 300 and self._operation.method == "POST" else {}
        found: Json = {"description": STATUS_WORDS.get(status, "The answer."), "headers": headers}
        found["content"] = content
        found["links"] = self._links if status < 300 else {}
        return {name: value for name, value in found.items() if value}

    def _content(self, part: type[BaseModel] | str) -> tuple[str, Json]:
        if isinstance(part, str):
            kind, _, _ = part.partition(";")
            is_text = kind.startswith("text/") and kind != EVENTS
            return kind, {"schema": {"type": "string"} if is_text else {}}
        return "application/json", {"schema": self._models.reference(part, "serialization")}


def _shown(example: Any) -> Mapping[str, Any]:
    return {} if example is None else {"example": example}
