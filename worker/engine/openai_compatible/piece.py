"""One event of a stream, read: what a server puts where something else should be is nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from local_llm_service.worker.engine.openai_compatible.client import Event

#: The members that an entry of log probabilities has here, as in Ollama.
_LOGPROB = ("token", "logprob", "bytes", "top_logprobs")
_HALF = re.compile("[\ud800-\udfff]")
#: No model's name is longer.
_LONGEST_NAME = 200


@dataclass(slots=True)
class Piece:
    """What an event adds to an answer. `is_choice`: it belongs to one at all."""

    model: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    is_choice: bool = False
    text: str = ""
    thought: str = ""
    refusal: str = ""
    finish_reason: str = ""
    tool_calls: list[Any] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, event: Event) -> Piece:
        """Read the first choice; nobody asks for more than one."""
        choices = event.get("choices")
        choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
        delta = _object(choice.get("delta"))
        calls, reason = delta.get("tool_calls"), choice.get("finish_reason")
        return cls(
            model=_name(event.get("model")),
            usage=_object(event.get("usage")),
            is_choice=bool(choice),
            text=_content(delta.get("content")),
            thought=_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
            refusal=_text(delta.get("refusal")),
            # SGLang has sent an object with the reason as its type.
            finish_reason=_text(_object(reason).get("type")) or _text(reason),
            tool_calls=calls if isinstance(calls, list) else [],
            logprobs=_logprobs(choice),
        )


class Halves:
    """Puts characters together that came in two halves.

    JSON may write a character beyond the first 65,536 as two escapes, and a server that streams
    tokens may send the one without the other. A half of nothing can be written nowhere.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, text: str) -> str:
        """The text with the half that was left before; the half at its end is left for later."""
        if text.isascii() and not self._half:
            return text
        if not self._half and not _HALF.search(text):
            return text
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return mended(text)


def mended(text: str) -> str:
    """Two halves as the character that they are, and one as a sign that something is missing."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _content(content: Any) -> str:
    """The text, which some write in parts."""
    if isinstance(content, list):
        parts = (_object(one) for one in content)
        return "".join(_text(one.get("text")) for one in parts if one.get("type") == "text")
    return _text(content)


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]]:
    found = _object(choice.get("logprobs")).get("content")
    entries = found if isinstance(found, list) else []
    return [{name: one.get(name) for name in _LOGPROB} for one in map(_object, entries) if one]


def _name(value: Any) -> str:
    """A model's name, which callers see and lists hold; nothing for what cannot be one."""
    name = _text(value)
    return name if len(name) <= _LONGEST_NAME and name.isprintable() else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
