"""Reads keep_alive: a number of seconds, or a Go duration such as "5m" or "1h30m"."""

import re
from typing import Any

from local_llm_service.worker.embedded.ollama_api.wire import (
    FOREVER_NANOSECONDS,
    NANOSECONDS,
    ApiError,
)

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6}
_UNITS |= {"s": NANOSECONDS, "m": 60 * NANOSECONDS, "h": 3600 * NANOSECONDS}
_PIECE = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def keep_alive_nanoseconds(value: Any) -> int:
    """How long a model stays loaded after its last answer; a negative value means forever.

    Raises ApiError 400, in Go's words, for text that is not a duration (time.ParseDuration) and
    for any other type.
    """
    if isinstance(value, str):
        length = go_duration(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        length = int(value * NANOSECONDS)
    else:
        raise ApiError(400, f"Unsupported type: '{type(value).__name__}'")
    return FOREVER_NANOSECONDS if length < 0 else min(length, FOREVER_NANOSECONDS)


def go_duration(text: str) -> int:
    """Nanoseconds of a Go duration; ApiError 400 if `text` is not one."""
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    pieces = list(_PIECE.finditer(body))
    if not pieces or "".join(piece.group() for piece in pieces) != body:
        raise ApiError(400, f'time: invalid duration "{text}"')
    return sign * sum(int(float(piece[1]) * _UNITS[piece[2]]) for piece in pieces)
