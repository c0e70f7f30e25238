"""Answers of the kind `chat` as OpenAI's objects. Pure; batches use it, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from local_llm_service.tasks.chat import chat
from local_llm_service.worker.fingerprint import full_name


@dataclass(frozen=True)
class Facts:
    """What an object says beside its answer.

    `created`: Unix seconds. `tier`: OpenAI's word for the queue. `digests`: of the models that
    workers have now, by full name.
    """

    created: int
    tier: str = "default"
    digests: Mapping[str, str] = field(default_factory=dict)


def completion_of(answer: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The object `chat.completion` of a plain answer."""
    return {
        "id": completion_id(answer["task_id"]),
        "object": "chat.completion",
        "created": facts.created,
        "model": answer["model"],
        "choices": [
            {
                "index": 0,
                "message": _message(answer["message"]),
                "logprobs": logprobs_of(answer),
                "finish_reason": answer["finish_reason"],
            }
        ],
        "usage": usage_of(answer["usage"]),
        "system_fingerprint": fingerprint_of(answer["model"], facts),
        "service_tier": facts.tier,
        "local": local_of(answer),
    }


def completion_id(task_id: str) -> str:
    """The id of a completion, which holds its job's."""
    return f"chatcmpl-{task_id}"


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = calls_of(message)
    content = message["content"]
    found = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if calls:
        found |= {"content": content or None, "tool_calls": calls}
    return found


def calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls that a message makes: OpenAI has their arguments as a text that holds JSON."""
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in message.get("tool_calls") or ()
    ]


def logprobs_of(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tokens' log probabilities, where they were asked for."""
    tokens: Sequence[Mapping[str, Any]] | None = answer.get("logprobs")
    if tokens is None:
        return None
    content = [
        {"bytes": None, **token, "top_logprobs": token.get("top_logprobs") or []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def usage_of(usage: Mapping[str, int]) -> dict[str, Any]:
    """What the answer has cost, in tokens."""
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def fingerprint_of(model: str, facts: Facts) -> str | None:
    """Another one means that the same `seed` may give another text.

    None: no worker has the model now.
    """
    digest = facts.digests.get(full_name(model))
    if digest is None:
        return None
    made_of = f"{full_name(model)} {digest} {chat.kind.template_version}"
    return f"fp_{blake2b(made_of.encode(), digest_size=5).hexdigest()}"


def local_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the job: our own member of OpenAI's objects.

    `route` is there where the service chose the model, `keep_local` where nothing was to leave,
    `paid_usd` where a model with a price wrote something.
    """
    names = ("task_id", "origin", "timings")
    found = {name: answer[name] for name in names}
    more = ("route", "keep_local", "paid_usd")
    return found | {name: answer[name] for name in more if answer.get(name)}
