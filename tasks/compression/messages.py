"""The messages that take a conversation's place, in a form that any chat template renders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from local_llm_service.tasks.compression.memory import ACKNOWLEDGED, NOTHING_BEFORE, Memory
from local_llm_service.tasks.conversation import plain_text

Given = Mapping[str, Any]


def messages_of(rules: str, memory: Memory, tail: Sequence[Given]) -> list[dict[str, Any]]:
    """One system message of all `rules`, the memory as the user's, and the last turns.

    Users and the assistant take turns: neighbours of one role are joined, each word for word, and
    the assistant acknowledges the memory where the user goes on.
    """
    messages: list[Given] = [{"role": "system", "content": rules}] if rules else []
    if memory.text or (tail and tail[0]["role"] != "user"):
        messages.append({"role": "user", "content": memory.text or NOTHING_BEFORE})
        if tail and tail[0]["role"] == "user":
            messages.append({"role": "assistant", "content": ACKNOWLEDGED})
    return _alternating([*messages, *tail])


def _alternating(messages: Iterable[Given]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for message in messages:
        if joined and message["role"] == joined[-1]["role"] and message["role"] != "tool":
            joined[-1] = _both(joined[-1], message)
        else:
            joined.append(dict(message))
    return joined


def _both(one: Given, other: Given) -> dict[str, Any]:
    """Two messages of one role as one."""
    said = [text for part in (one, other) if (text := plain_text(part.get("content")))]
    calls = [*one.get("tool_calls", ()), *other.get("tool_calls", ())]
    both = {"role": one["role"], "content": "\n\n".join(said)}
    return {**both, "tool_calls": calls} if calls else both
