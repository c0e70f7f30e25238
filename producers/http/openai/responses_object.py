"""The object `response` of OpenAI's API, made of what is stored of the request and of its job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from local_llm_service.producers.http.openai.chat_reply import local_of
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.worker.errors import (
    Cancelled,
    ContextOverflow,
    InvalidRequest,
    QueueFull,
    RateLimited,
    ServiceError,
)
from local_llm_service.worker.store.states import JobState

PREFIX = "resp_"
_STATUS = {
    JobState.QUEUED: "queued",
    JobState.PARKED: "queued",
    JobState.CANCELLED: "cancelled",
    JobState.FAILED: "failed",
}


@dataclass(frozen=True)
class ResponseFacts:
    """What is kept of a request beside its job. `created_at`: Unix seconds; `items`: the whole
    conversation that the model was sent, without the instructions."""

    task_id: str
    created_at: int
    echo: dict[str, Any] = field(repr=False)
    items: list[dict[str, Any]] = field(repr=False)

    @property
    def id(self) -> str:
        """The response's id."""
        return f"{PREFIX}{self.task_id}"

    def as_json(self) -> str:
        """The facts as they are stored."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> ResponseFacts:
        """Read what is stored; a newer process may have written more."""
        found = json.loads(text)
        return cls(**{name: found[name] for name in ("task_id", "created_at", "echo", "items")})


def status_of(state: JobState) -> str:
    """The word for a job without an answer. An identical job's run counts as its own."""
    return _STATUS.get(state, "in_progress")


def pending(facts: ResponseFacts, status: str) -> dict[str, Any]:
    """The object of a response that has no answer."""
    echo = facts.echo
    return {
        "id": facts.id,
        "object": "response",
        "created_at": facts.created_at,
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        **echo,
        "model": echo.get("model") or "",
        "output": [],
        "usage": None,
        "local": {"task_id": facts.task_id},
    }


def answered(facts: ResponseFacts, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a response whose job has its answer, as CONTRACT's plain data."""
    is_cut = answer["finish_reason"] == "length"
    return {
        **pending(facts, "incomplete" if is_cut else "completed"),
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "model": answer["model"],
        "output": output_of(facts.task_id, answer),
        "usage": usage_of(answer),
        "local": local_of(answer),
    }


def failed(facts: ResponseFacts, error: ServiceError) -> dict[str, Any]:
    """The object of a response whose job has failed, or was cancelled."""
    if isinstance(error, Cancelled):
        return pending(facts, "cancelled")
    words = problem_of(error).error_object["message"]
    told = {"code": error_code(error), "message": words, "type": error.code, "param": None}
    return {**pending(facts, "failed"), "error": told}


def error_code(error: ServiceError) -> str:
    """The one of OpenAI's codes for a response that fits best."""
    if isinstance(error, InvalidRequest | ContextOverflow):
        return "invalid_prompt"
    return "rate_limit_exceeded" if isinstance(error, QueueFull | RateLimited) else "server_error"


def usage_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens, in the names of Responses."""
    usage = answer["usage"]
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def output_of(task_id: str, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of an answer: what the model says, then its calls."""
    message, items = answer["message"], []
    calls = message.get("tool_calls") or []
    if message["content"] or not calls:
        status = "incomplete" if answer["finish_reason"] == "length" else "completed"
        part = text_part(message["content"], answer.get("logprobs"))
        items.append(message_item(task_id, status, [part]))
    items += [call_item(task_id, place, call) for place, call in enumerate(calls)]
    return items


def message_item(task_id: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message."""
    return {
        "id": f"msg_{task_id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def text_part(text: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def call_item(task_id: str, place: int, call: Mapping[str, Any]) -> dict[str, Any]:
    """A call of one of the caller's functions."""
    function = call["function"]
    return {
        "id": f"fc_{task_id}_{place}",
        "type": "function_call",
        "status": "completed",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": json.dumps(function["arguments"], ensure_ascii=False),
    }


def as_input(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An answer's items as a later request's input would hold them, in their plain form."""
    items = []
    for item in output:
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            items.append({"type": "message", "role": "assistant", "content": text})
        else:
            names = ("type", "call_id", "name", "arguments")
            items.append({name: item[name] for name in names})
    return items


def listed(task_id: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The input items of a response as its API shows them, each with an id."""
    return [_shown(f"{task_id}_{place}", item) for place, item in enumerate(items)]


def _shown(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    if item["type"] == "message":
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        content = [{"type": kind, "text": item["content"]}]
        return {"id": f"msg_{name}", "status": "completed", **item, "content": content}
    if item["type"] == "compaction":
        return {"id": f"cmp_{name}", **item}
    prefix = "fc" if item["type"] == "function_call" else "fco"
    return {"id": f"{prefix}_{name}", "status": "completed", **item}
