"""Bodies and queries: strict JSON, checked by pydantic models; no word of theirs is in an error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from local_llm_service.tasks.request import said_of
from local_llm_service.worker.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)

_HINT = "Send one JSON object in UTF-8; /docs has an example for each path."


def strict_json(body: bytes) -> Any:
    """Read a body. Raises InvalidRequest, also for what JSON readers disagree on: a key that comes
    twice, NaN, half a character."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 (byte {error.start})", _HINT) from None
    if not text.strip():
        raise InvalidRequest("the body is empty", _HINT)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
        if "\\" in text and has_lone_surrogate(value):
            raise InvalidRequest("the body holds half a character (a lone surrogate)")
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the body is not JSON ({place})", _HINT) from None
    except (ValueError, RecursionError):  # a number of 5,000 digits; 100,000 brackets
        raise InvalidRequest("the body is not JSON that can be read here", _HINT) from None
    return value


def has_lone_surrogate(value: Any) -> bool:
    """Whether any text in a JSON value cannot be encoded."""
    if isinstance(value, str):
        return any("\ud800" <= one <= "\udfff" for one in value) if not value.isascii() else False
    if isinstance(value, dict):
        return any(map(has_lone_surrogate, value)) or any(map(has_lone_surrogate, value.values()))
    return isinstance(value, list) and any(map(has_lone_surrogate, value))


def as_object(value: Any) -> dict[str, Any]:
    """The value, which has to be an object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", _HINT)
    return value


def checked(model: type[M], value: Any) -> M:
    """The value as an instance of `model`. Raises InvalidRequest, which names each wrong field."""
    try:
        return model.model_validate(as_object(value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [
            ": ".join(filter(None, [_path(one["loc"]), said_of(one)]))
            for one in problems[:5]
        ]
    raise InvalidRequest("; ".join(lines))


def _path(parts: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in parts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequest("the body has an object with the same key twice")
    return found


def _constant(_: str) -> Any:
    raise InvalidRequest("the body holds NaN or Infinity, which are no JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidRequest("the body holds a number that is too large")
    return number
