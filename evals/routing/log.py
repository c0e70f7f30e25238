"""Reads a log: JSONL, one query a line, with whatever is known of what would answer it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a line may say; anything else is left out, as logs hold more.
_LINE = 'A line is {"prompt": "…"}, and may have context, expected, complex, local_right, …'


class LogUnusable(Exception):
    """A log that cannot be read; the message names the file and the line, never what is in it."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query. `expected`: strings of which a right answer holds one.

    `local_right` and `remote_right`: how right each model's answer was, 0 to 1; None: unknown.
    """

    key: str
    prompt: str
    context: str | None = None
    expected: tuple[str, ...] = ()
    local_right: float | None = None
    remote_right: float | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether it is known what would have answered it."""
        return self.local_right is not None and self.remote_right is not None


def read_log(path: Path) -> list[Query]:
    """The queries of a file, each once. Raises LogUnusable."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise LogUnusable(f"{path}: {said}") from None
    found: dict[str, Query] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            query = _query(line, f"{path} line {number}")
            found.setdefault(query.key, query)
    if not found:
        raise LogUnusable(f"{path}: holds no query. {_LINE}")
    return list(found.values())


def _query(line: str, place: str) -> Query:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LogUnusable(f"{place}: is no JSON object. {_LINE}")
    prompt, context = value.get("prompt"), value.get("context")
    if not isinstance(prompt, str) or not prompt.strip():
        raise LogUnusable(f"{place}: `prompt` is no text. {_LINE}")
    if not (context is None or isinstance(context, str)):
        raise LogUnusable(f"{place}: `context` is no text")
    local, remote = _rights(value, place)
    key = hashlib.sha256(json.dumps([prompt, context]).encode()).hexdigest()[:16]
    return Query(key, prompt, context or None, _expected(value, place), local, remote)


def _expected(value: Mapping[str, Any], place: str) -> tuple[str, ...]:
    given = value.get("expected", [])
    some = [given] if isinstance(given, str) else given
    if not isinstance(some, list) or not all(isinstance(one, str) and one for one in some):
        raise LogUnusable(f"{place}: `expected` is neither a text nor a list of texts")
    return tuple(some)


def _rights(value: Mapping[str, Any], place: str) -> tuple[float | None, float | None]:
    """Of `complex` alone: the local model is right unless it is complex, the remote one always."""
    local, remote = (_number(value, name, place) for name in ("local_right", "remote_right"))
    is_complex = _number(value, "complex", place)
    if is_complex is not None:
        local = 1.0 - is_complex if local is None else local
        remote = 1.0 if remote is None else remote
    return local, remote


def _number(value: Mapping[str, Any], name: str, place: str) -> float | None:
    given = value.get(name)
    if given is None:
        return None
    if not isinstance(given, bool | int | float) or not 0 <= given <= 1:
        raise LogUnusable(f"{place}: `{name}` is neither true, false nor a number from 0 to 1")
    return float(given)
