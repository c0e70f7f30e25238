"""What the OpenAPI document says of errors, made of the table in `problems.py`. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from local_llm_service.producers.http.operations import OLLAMA_TAG, Operation
from local_llm_service.producers.http.problems import TABLE

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}

#: What each error's body is: RFC 9457's and OpenAI's at once.
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem (RFC 9457) that OpenAI's clients read, too: they look into `error`.",
    "required": ["type", "title", "status", "detail", "code", "hint", "retryable", "error"],
    "properties": {
        "type": {**_TEXT, "description": "A name of the error, which is the same everywhere."},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {**_TEXT, "description": "What is wrong, without a word of the request."},
        "instance": {**_TEXT, "description": "Names the request, as `x-request-id` does."},
        "code": _TEXT,
        "hint": {**_TEXT, "description": "What to do."},
        "retryable": {"type": "boolean"},
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {**_TEXT_OR_NULL, "description": "The field that is wrong."},
                "code": _TEXT_OR_NULL,
            },
        },
    },
}
_OLLAMA_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": _TEXT},
}
SCHEMAS = {"Problem": _PROBLEM, "OllamaProblem": _OLLAMA_PROBLEM}
#: Headers that an error's reply may have.
_HEADERS = {
    "x-should-retry": "Whether the same request may succeed later.",
    "Retry-After": "Seconds after which to try again, 120 at most.",
}


def codes_by_status() -> dict[int, list[str]]:
    """The codes of all errors, by the status of their replies."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for error, row in sorted(TABLE.items(), key=lambda item: item[1].status):
        found[row.status].append(error.code)
    return dict(found)


def error_responses() -> dict[str, Any]:
    """The components: one response for each status, and once more as Ollama's clients read it."""
    headers = {name: {"description": text, "schema": _TEXT} for name, text in _HEADERS.items()}
    found: dict[str, Any] = {}
    for status, codes in codes_by_status().items():
        words = "Code " + " or ".join(f"`{code}`" for code in codes) + "."
        for prefix, media, schema in (
            ("Error", "application/problem+json", "Problem"),
            ("Ollama", "application/json", "OllamaProblem"),
        ):
            content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
            found[f"{prefix}{status}"] = {
                "description": words,
                "headers": headers,
                "content": content,
            }
    return found


def errors_of(operation: Operation) -> dict[str, Any]:
    """The errors that one operation may reply with, as references to the components."""
    prefix = "Ollama" if operation.tag == OLLAMA_TAG else "Error"
    return {
        str(status): {"$ref": f"#/components/responses/{prefix}{status}"}
        for status in sorted(_statuses(operation))
        if status not in operation.answers
    }


def _statuses(operation: Operation) -> set[int]:
    statuses = {400, 403, 500, 503}
    if not operation.public:
        statuses |= {401, 429}
    if "{" in operation.path or operation.method == "POST" or operation.query is not None:
        statuses.add(404)
    if operation.method == "POST":
        statuses |= {410, 413, 422, 502, 504}
    return statuses
