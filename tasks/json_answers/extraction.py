"""The JSON value in what a model wrote: fences, words before it and garbage after it are cut away.

Nothing is guessed and nothing is completed: what is not JSON by the letter, or could be one of two
values, is none.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

#: Levels of lists and objects; pydantic, which makes the answer, stops at 255.
MOST_DEPTH: Final = 200
#: After a value, so many beginnings of another one are looked at.
_MOST_BEGINNINGS = 50
_BEGINNING = re.compile(r"[{\[]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_BOM = "\ufeff"


class NotJson(Exception):
    """There is no JSON value in the text; the reason is for the model, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A JSON value and the text of it alone, as the model wrote it."""

    value: Any = field(repr=False)
    text: str = field(repr=False)


def extracted(text: str, *, is_cut: bool = False) -> Extracted:
    """The one value in a text. Raises NotJson.

    A text that `is_cut` has one if it holds the value's last bracket or quote, and nothing after it
    that may be another one: 12 may have been meant as 123.
    """
    whole = unfenced(text.strip().lstrip(_BOM))
    first = _BEGINNING.search(whole)
    try:
        if whole.startswith('"'):
            place = 0
        elif first is None:  # a number or a word has to stand alone
            if is_cut:
                raise NotJson("it was cut")
            return _checked(_DECODER.decode(whole), whole)
        else:
            place = first.start()
        value, end = _DECODER.raw_decode(whole, place)
        if _differs_later(whole, end, value) or (is_cut and _BEGINNING.search(whole, end)):
            raise NotJson("there is more than one JSON value")
        return _checked(value, whole[place:end])
    except (ValueError, RecursionError) as error:
        raise NotJson(_said_of(error)) from None


def unfenced(text: str) -> str:
    """The text without Markdown's fence around it, if there is one."""
    text = text.strip()
    if len(text) < 6 or not text.startswith("```") or not text.endswith("```"):
        return text
    return text[3:-3].removeprefix("json").strip()


_TWICE = "a name stands twice in one object"
_ENDLESS = "it is nested too deeply"


def _differs_later(text: str, place: int, value: Any) -> bool:
    """Whether another value comes after a place: nobody knows then which one is the answer."""
    for _ in range(_MOST_BEGINNINGS):
        beginning = _BEGINNING.search(text, place)
        if beginning is None:
            return False
        try:
            other, place = _DECODER.raw_decode(text, beginning.start())
        except (ValueError, RecursionError):
            place = beginning.end()
            continue
        if json.dumps(other) != json.dumps(value):
            return True
    return True


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects nest so deep that the value could not be stored; level by level."""
    level: list[Any] = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def _checked(value: Any, text: str) -> Extracted:
    """Raises ValueError for what could not be stored: half a character, or too many levels."""
    if isinstance(value, dict | list) and is_too_deep(value):
        raise ValueError(_ENDLESS)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character") from None
    return Extracted(value, text)


def _said_of(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return _ENDLESS if isinstance(error, RecursionError) else str(error)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")  # it could not be stored as JSON
    return value


def _whole(number: str) -> int:
    if len(number) > _MOST_DIGITS:
        raise ValueError("a number is too large")
    return int(number)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise ValueError(_TWICE)  # a reader would take one of them, and lose the other
    return value


#: Python itself reads up to 4,300 digits, and its error would say so.
_MOST_DIGITS = 4000
_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_int=_whole, parse_constant=_refuse, object_pairs_hook=_unique
)
