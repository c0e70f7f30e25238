"""Bodies and queries: strict JSON, checked by pydantic models; no word of theirs is in an error."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from local_llm_service.tasks.request import said_of
from local_llm_service.worker.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)

#: JSON values of one body. While a value is checked nobody else is served: four million ones, in a
#: body that is small enough, would hold up all callers for a minute.
VALUES_MOST = 50_000
#: Characters of a name that an error repeats: a name is as long as its sender likes.
NAME_MOST = 80

_HINT = "Send one JSON object in UTF-8; /docs has an example for each path."
#: A JSON text; of one without an end, all that is left, so that it is looked through only once.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def strict_json(body: bytes) -> Any:
    """Read a body. Raises InvalidRequest, also for what JSON readers disagree on: a key that comes
    twice, NaN, half a character."""
    if _has_too_many_values(body):
        raise InvalidRequest(
            f"the body holds more than {VALUES_MOST:,} JSON values", "Send several requests."
        )
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
        return not value.isascii() and _cannot_be_encoded(value)
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
        lines = [": ".join(filter(None, [_path(one["loc"]), said_of(one)])) for one in problems[:5]]
    raise InvalidRequest("; ".join(lines))


def _path(parts: Iterable[int | str]) -> str:
    return ".".join(str(part)[:NAME_MOST] for part in parts)


def _has_too_many_values(body: bytes) -> bool:
    """Whether a body holds more than VALUES_MOST values; counted before any of them is made."""
    if _marks(body) < VALUES_MOST:
        return False
    # Prose has commas, too. Of so many texts, which are keys or values, no look inside is needed.
    if body.count(b'"') - body.count(b'\\"') > 4 * VALUES_MOST:
        return True
    return _marks(_TEXT.sub(b"", body)) >= VALUES_MOST


def _marks(text: bytes) -> int:
    """The marks that begin a value which is not the first one, or a list or an object."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _cannot_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


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
