"""Words of the OpenAPI document that no model and no operation says."""

from __future__ import annotations

from typing import Any

ABOUT = (
    "Language models on your own hardware, behind queues. Every call is a job: it exists before the"
    " first byte is sent, and belongs to nobody's connection. Identical questions cost one"
    " generation. Besides its own API the service speaks OpenAI's and Ollama's, so that their"
    " clients need only another address."
)

TAG_WORDS = {
    "first API": "One address for each kind. The call waits for the answer.",
    "jobs": "Jobs as resources: submit one, read its text while it is written, cancel it.",
    "OpenAI": "OpenAI's API. Give its clients the address of this service with `/v1`.",
    "Ollama": "Ollama's API. Give its clients the address of this service as `OLLAMA_HOST`.",
    "batches": "Many calls in one file, run at low priority and kept until they are complete.",
    "service": "What the service does now.",
    "pages": "Pages for people, and this document.",
}

PATH_WORDS = {
    "task_id": "The id of a job.",
    "model": "The name of a model, with its tag.",
    "file_id": "The id of a file.",
    "batch_id": "The id of a batch.",
    "digest": "`sha256:` and 64 hex digits.",
    "name": "The name of a file.",
    "response_id": "The id of a response.",
}

STATUS_WORDS = {
    200: "The answer.",
    201: "It was made.",
    202: "The job is queued; `Location` says where it is.",
    204: "There is nothing more.",
    304: "It has not changed since `If-None-Match`.",
    410: "The job was cancelled.",
    503: "Nothing can be answered now.",
}

_TEXT = {"type": "string"}

#: What operations make: the parameter that stands for its id in the paths of others.
MAKES = {
    ("POST", "/v1/jobs"): "task_id",
    ("POST", "/v1/responses"): "response_id",
    ("POST", "/v1/files"): "file_id",
    ("POST", "/v1/batches"): "batch_id",
}

#: Headers of replies that hold an answer.
ANSWER_HEADERS: dict[str, Any] = {
    "X-Local-LLM-Task-Id": {"description": "The id of the job.", "schema": _TEXT},
    "X-Local-LLM-Origin": {
        "description": "Where the answer comes from: computed, cached or joined.",
        "schema": _TEXT,
    },
    "X-Local-LLM-Queue-Seconds": {"description": "Time in the queue.", "schema": _TEXT},
    "X-Local-LLM-Model-Digest": {
        "description": "The digest that the model has now.",
        "schema": _TEXT,
    },
}

_PREFER = (
    "`respond-async`: reply at once, with 202. `wait=N`: reply with 202 where there is no answer"
    " within N seconds.",
    _TEXT,
)

_KEY: tuple[str, dict[str, Any]] = (
    "The same key with the same body gets the same job, also hours later.",
    {**_TEXT, "minLength": 1, "maxLength": 200},
)

#: Headers that an operation reads, beside the API key: (words, schema) by name.
REQUEST_HEADERS: dict[tuple[str, str], dict[str, tuple[str, dict[str, Any]]]] = {
    ("POST", "/v1/jobs"): {
        "Prefer": _PREFER,
        "Idempotency-Key": _KEY,
    },
    ("GET", "/v1/jobs/{task_id}/events"): {
        "Last-Event-ID": ("The `id` of the last event that was read: go on after it.", _TEXT),
    },
    **{
        ("POST", path): {"Prefer": _PREFER, "Idempotency-Key": _KEY}
        for path in (
            *("/generate", "/summarize", "/compress", "/extract-parameters"),
            "/structured-output",
        )
    },
}
