"""What is kept of one step: its completion as JSON."""

from __future__ import annotations

import json
from typing import Any

from local_llm_service.worker.prompt import Completion

_TEXTS = ("text", "model", "finish_reason")
_COUNTS = ("prompt_tokens", "completion_tokens")
_SECONDS = ("load_seconds", "prompt_seconds", "generation_seconds")
_LISTS = ("tool_calls", "logprobs")


def entry_of(completion: Completion) -> str:
    """Write an entry; vectors are kept elsewhere."""
    fields = (*_TEXTS, *_COUNTS, *_SECONDS, *_LISTS)
    plain = {name: getattr(completion, name) for name in fields}
    return json.dumps(plain, separators=(",", ":"))


def completion_in(entry: str) -> Completion | None:
    """Read the completion; None for what cannot be read."""
    try:
        plain: Any = json.loads(entry)
        fields = {
            **{name: _checked(plain[name], str) for name in _TEXTS},
            **{name: _checked(plain[name], int) for name in _COUNTS},
            **{name: float(_checked(plain[name], int, float)) for name in _SECONDS},
            **{name: tuple(_checked(plain[name], list)) for name in _LISTS},
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Completion(**fields)


def _checked(value: Any, *types: type) -> Any:
    if not isinstance(value, types):
        raise TypeError("a field has another type")
    return value
