"""Replies, and the headers that every answer has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.call import Call


def json_reply(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON reply."""
    return Response(encoded(data), status, headers, media_type="application/json")


def encoded(data: Any) -> bytes:
    """JSON in UTF-8. Half a character, which a model can write, is replaced."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="replace")


def one_line(data: Any) -> str:
    """JSON as a line of a stream.

    In ASCII: some clients, those in Python among them, take other characters of Unicode for the end
    of a line. Half a character is replaced, too.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    if "\\ud" not in text:
        return text
    return json.dumps(json.loads(encoded(data)), separators=(",", ":"))


async def answer_headers(call: Call, answer: Mapping[str, Any]) -> dict[str, str]:
    """What a plain answer says of its job; without one, what its `task_id` and `model` say."""
    found = {"X-Local-LLM-Task-Id": str(answer["task_id"])}
    if "origin" in answer:
        found["X-Local-LLM-Origin"] = str(answer["origin"])
    queued = answer.get("timings", {}).get("queued_seconds")
    if queued is not None:
        found["X-Local-LLM-Queue-Seconds"] = f"{queued:.3f}"
    digest = await call.service.digest_of(answer["model"]) if answer.get("model") else None
    if digest is not None:
        found["X-Local-LLM-Model-Digest"] = digest
    return found
