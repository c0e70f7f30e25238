"""Reads labelled prompts: JSONL, `{"prompt": "…", "complex": true}`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.errors import InvalidRequest

#: What a file may hold at most, and what fewer than say nothing.
MOST_LABELS = 100_000
LEAST_LABELS, LEAST_OF_EACH = 60, 20

_LINE = 'A line is {"prompt": "…", "complex": true} or false.'
_VALUES = {"complex": True, "simple": False}
_DIGITS, _SPACES = re.compile(r"\d+"), re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Label:
    """A prompt, and whether it needed the large model."""

    prompt: str
    is_complex: bool


def read_labels(text: str, name: str) -> list[Label]:
    """The labels of a JSONL text; `name` is the file's. Raises InvalidRequest with the line."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            found.append(_label(line, f"{name} line {number}"))
        if len(found) > MOST_LABELS:
            raise InvalidRequest(f"{name}: more than {MOST_LABELS} labels", "Give a part of it.")
    check_enough(found, name)
    return found


def check_enough(labels: Sequence[Label], name: str) -> None:
    """Raise InvalidRequest for so few distinct prompts that nothing can be said."""
    distinct = {group(one.prompt): one.is_complex for one in labels}
    complex_ones = sum(distinct.values())
    simple = len(distinct) - complex_ones
    if len(distinct) < LEAST_LABELS or min(complex_ones, simple) < LEAST_OF_EACH:
        raise InvalidRequest(
            f"{name}: {complex_ones} distinct prompts are complex and {simple} simple",
            f"Label {LEAST_LABELS} or more, and {LEAST_OF_EACH} or more of either.",
        )


def group(prompt: str) -> str:
    """What prompts have in common that are the same but for case, spaces and numbers."""
    return _SPACES.sub(" ", _DIGITS.sub("0", prompt.casefold())).strip()


def _label(line: str, place: str) -> Label:
    value = _object(line, place)
    prompt = value.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequest(f"{place}: `prompt` is no text", _LINE)
    said = {_truth(value[name], place, name) for name in ("complex", "label") if name in value}
    if not said:
        raise InvalidRequest(f"{place}: `complex` is missing", _LINE)
    if len(said) == 2:
        raise InvalidRequest(f"{place}: `complex` and `label` do not agree", _LINE)
    return Label(prompt, said.pop())


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place}: is no JSON object", _LINE)
    return value


def _truth(value: object, place: str, name: str) -> bool:
    if isinstance(value, str):
        value = _VALUES.get(value.casefold())
    if value is True or value is False:
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise InvalidRequest(f"{place}: `{name}` is neither true nor false", _LINE)
