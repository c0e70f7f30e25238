"""One example for each operation that reads something. A test sends every one to a real server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """What a caller may send."""

    body: Any = None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)


TASK_ID = "7c0a1f8e-5d2b-4c52-9a3e-0f6f4b1d2c3a"
MODEL = "smollm2:135m"

_FUNCTION = {
    "name": "book_table",
    "parameters": {
        "type": "object",
        "properties": {"people": {"type": "integer"}, "day": {"type": "string"}},
        "required": ["people"],
    },
}
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["name"],
}
_TALK = [
    {"role": "user", "content": "I want to learn Python."},
    {"role": "assistant", "content": "Begin with the tutorial of python.org."},
    {"role": "user", "content": "How long does that take?"},
]
_CHAT = [{"role": "user", "content": "What is Python?"}]
_JOB = {"task_id": TASK_ID}
_RESPONSE = {"response_id": f"resp_{TASK_ID}"}
_FILE = {"file_id": f"file-{TASK_ID}"}
_BATCH = {"batch_id": f"batch_{TASK_ID}"}
_DIGEST = {"digest": "sha256:" + 64 * "0"}

EXAMPLES: Mapping[tuple[str, str], Example] = {
    ("POST", "/generate"): Example(
        {
            "prompt": "What is Python?",
            "system_prompt": "You are a helpful assistant.",
            "max_tokens": 500,
            "temperature": 0.7,
        }
    ),
    ("POST", "/summarize"): Example(
        {
            "context": "Python is a language. It is easy to read, and many people use it.",
            "max_summary_tokens": 100,
            "question": "Who uses Python?",
        }
    ),
    ("POST", "/compress"): Example(
        {"messages": _TALK, "target_tokens": 200, "keep": ["python.org"]}
    ),
    ("POST", "/extract-parameters"): Example(
        {"user_message": "A table for four on Friday, please.", "function_schema": _FUNCTION}
    ),
    ("POST", "/structured-output"): Example(
        {"prompt": "Who made Python, and when?", "schema": _SCHEMA}
    ),
    ("POST", "/v1/jobs"): Example(
        {"kind": "generate", "args": {"prompt": "What is Python?"}, "priority": "normal"}
    ),
    ("GET", "/v1/jobs/{task_id}"): Example(path=_JOB),
    ("GET", "/v1/jobs/{task_id}/events"): Example(path=_JOB),
    ("GET", "/v1/jobs/{task_id}/explain"): Example(path=_JOB),
    ("POST", "/v1/jobs/{task_id}/cancel"): Example(path=_JOB),
    ("DELETE", "/v1/jobs/{task_id}"): Example(path=_JOB),
    ("GET", "/v1/usage"): Example(query={"by": "model"}),
    ("GET", "/v1/models/{model:path}"): Example(path={"model": MODEL}),
    ("POST", "/v1/chat/completions"): Example({"model": MODEL, "messages": _CHAT}),
    ("POST", "/v1/completions"): Example({"model": MODEL, "prompt": "Python is"}),
    ("POST", "/v1/embeddings"): Example({"model": MODEL, "input": ["Python", "A snake"]}),
    ("POST", "/v1/responses"): Example({"model": MODEL, "input": "What is Python?"}),
    ("POST", "/v1/responses/compact"): Example({"model": MODEL, "input": _TALK}),
    ("GET", "/v1/responses/{response_id}"): Example(path=_RESPONSE),
    ("DELETE", "/v1/responses/{response_id}"): Example(path=_RESPONSE),
    ("POST", "/v1/responses/{response_id}/cancel"): Example(path=_RESPONSE),
    ("GET", "/v1/responses/{response_id}/input_items"): Example(path=_RESPONSE),
    ("POST", "/v1/files"): Example({"purpose": "batch", "file": "@requests.jsonl"}),
    ("GET", "/v1/files/{file_id}"): Example(path=_FILE),
    ("GET", "/v1/files/{file_id}/content"): Example(path=_FILE),
    ("DELETE", "/v1/files/{file_id}"): Example(path=_FILE),
    ("POST", "/v1/batches"): Example(
        {
            "input_file_id": f"file-{TASK_ID}",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
    ),
    ("GET", "/v1/batches/{batch_id}"): Example(path=_BATCH),
    ("GET", "/v1/batches/{batch_id}/results"): Example(path=_BATCH),
    ("POST", "/v1/batches/{batch_id}/cancel"): Example(path=_BATCH),
    ("POST", "/v1/batches/{batch_id}/retry"): Example(path=_BATCH),
    ("POST", "/api/chat"): Example({"model": MODEL, "messages": _CHAT, "stream": False}),
    ("POST", "/api/generate"): Example(
        {"model": MODEL, "prompt": "What is Python?", "stream": False}
    ),
    ("POST", "/api/embed"): Example({"model": MODEL, "input": "Python"}),
    ("GET", "/assets/{name}"): Example(path={"name": "style.css"}),
    ("POST", "/api/embeddings"): Example({"model": MODEL, "prompt": "Python"}),
    ("HEAD", "/api/blobs/{digest}"): Example(path=_DIGEST),
    ("POST", "/api/blobs/{digest}"): Example(path=_DIGEST),
    ("POST", "/api/show"): Example({"model": MODEL}),
}
