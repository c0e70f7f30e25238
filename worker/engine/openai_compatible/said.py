"""What a server says of an error, read out of the forms in which servers write it.

OpenAI's `{"error": {"message", "type", "param", "code"}}`, which most have taken over; vLLM's and
SGLang's `{"object": "error", "message", …}`; LM Studio's `{"error": "…"}`; FastAPI's `{"detail"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The status of an error that stands in a stream which began with 200, and names none itself.
MIDWAY = -1
#: Members of errors that stand at the top, Venice's among them.
_ERROR_MEMBERS = ("error_type", "error_message", "detail")
#: No context is larger (ENGINES_FILE takes no more), so a larger count of tokens is none.
_MOST_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """An error of a server. Its words may repeat the prompt or the key: they go nowhere else.

    `param` names the argument that it complains of, as far as it does. `tokens` and `room` are
    those of an overflow, where they have members of their own.
    """

    status: int
    words: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""
    tokens: int | None = None
    room: int | None = None

    @classmethod
    def read(cls, status: int, content: bytes | str) -> Said:
        """What the body of an error says."""
        try:
            return cls.of(status, json.loads(content))
        except (ValueError, RecursionError):  # a proxy's page, or nothing
            return cls(status)

    @classmethod
    def of(cls, status: int, body: Any) -> Said:
        """The same of a body that is read already."""
        if not isinstance(body, dict):
            return cls(status)
        inner = body.get("error", body)
        if isinstance(inner, str):
            return cls(status, words=inner)
        if not isinstance(inner, dict):
            return cls(status)
        message = inner.get("message") or inner.get("detail") or inner.get("error_message")
        if isinstance(message, dict):
            message = message.get("detail", "")
        param = _text(inner.get("param"))
        if isinstance(message, list):
            message, param = _detail(message)
        return cls(
            status,
            words=_text(message),
            code=_text(inner.get("code")),
            kind=_text(inner.get("type") or inner.get("error_type")),
            param=param,
            tokens=count(inner.get("n_prompt_tokens")),
            room=count(inner.get("n_ctx")),
        )

    @property
    def all(self) -> str:
        """Type, code and words, for a pattern."""
        return f"{self.kind} {self.code} {self.words}"


def is_error(event: Mapping[str, Any]) -> bool:
    """Whether an event of a stream, or a whole answer, is an error."""
    if event.get("error") or event.get("object") == "error":
        return True
    return "choices" not in event and any(name in event for name in _ERROR_MEMBERS)


def count(value: Any) -> int | None:
    """A whole number of tokens that can be true, or None."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 < value <= _MOST_TOKENS else None


def _detail(problems: list[Any]) -> tuple[str, str]:
    """FastAPI's list of what is wrong: its words, and the argument that the first is about."""
    found = [one for one in problems if isinstance(one, dict)]
    words = "; ".join(f"{_text(one.get('type'))}: {_text(one.get('msg'))}" for one in found)
    place = found[0].get("loc") if found else None
    steps = [one for one in place if one != "body"] if isinstance(place, list) else []
    return words, _text(steps[0]) if steps else ""


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""
