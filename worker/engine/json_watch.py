"""Watches JSON while it is written, for what has no end: so the tokens of a failure are bounded.

A grammar allows white space, texts, digits and brackets without end, and small models lose
themselves in them. Only what no answer needs is stopped, and what can be no answer any more: a
name that stands twice. All else is for the check of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from local_llm_service.worker.engine.subschemas import schemas
from local_llm_service.worker.prompt import JsonSchema

#: A grammar allows white space between tokens without end; no real JSON has this much in a row.
MAX_WHITE_SPACE_RUN_CHARS: Final = 200
#: The longest number, and the deepest nesting.
MAX_NUMBER_CHARS: Final = 100
MAX_DEPTH: Final = 200
#: Longer names are not compared.
MAX_NAME_CHARS: Final = 1000
#: So often, and over so many characters, one piece may follow itself: within a text; within a text
#: if the piece is a long one; and of a list, in which many items may well be equal.
TEXT_REPEATS: Final = (30, 300)
LONG_REPEATS: Final = (10, 400)
LIST_REPEATS: Final = (200, 1000)
_LONG_CHARS: Final = 40
#: How much of the end is looked at, by how much of it a piece is found, and after how much more.
_WINDOW_CHARS, _PROBE_CHARS, _STEP_CHARS = 8192, 32, 64
#: What one character takes at most as JSON writes it: two escaped halves.
_ESCAPED_CHARS: Final = 12

_END_OF_TEXT = re.compile(r'["\\]')
_BLANK, _NUMBER = " \t\r\n", "0123456789+-.eE"


class JsonWatch:
    """The end of one answer as it grows."""

    def __init__(self, schema: JsonSchema) -> None:
        longest = longest_text(schema)
        self._longest = None if longest is None else longest * _ESCAPED_CHARS
        self._is_text = schema is not True and isinstance(schema, dict) and _may_be_text(schema)
        self._tail, self._unseen = "", 0
        self._blank_chars = self._number_chars = 0
        #: Of each list and object that is open: the names in an object, None for a list.
        self._open: list[set[str] | None] = []
        #: The sign before a text: a name comes after a bracket or a comma of an object.
        self._before = ""
        #: What of a name is written; None where no name is.
        self._name: str | None = None
        self._is_twice = False
        #: Characters of the text that is open; None between texts.
        self._text_chars: int | None = None
        self._is_escaped = False
        #: Whether the value has begun, and whether it has ended: prose may stand around it.
        self._has_begun = self._is_whole = False

    def add(self, chunk: str) -> str:
        """Take what was written; says what is wrong with it, or nothing."""
        kept = chunk.rstrip()
        trailing = len(chunk) - len(kept)
        self._blank_chars = trailing if kept else self._blank_chars + trailing
        if self._blank_chars > MAX_WHITE_SPACE_RUN_CHARS:
            return "white space without end"
        return self._lex(chunk) or self._repetition(chunk)

    def _lex(self, chunk: str) -> str:
        place = 0
        while place < len(chunk) and not self._is_whole:
            if self._text_chars is None:
                self._between_texts(chunk[place])
                place += 1
            else:
                place = self._in_text(chunk, place)
            if self._longest is not None and (self._text_chars or 0) > self._longest:
                return "a text without end"
            if self._number_chars > MAX_NUMBER_CHARS:
                return "a number without end"
            if len(self._open) > MAX_DEPTH:
                return "brackets without end"
            if self._is_twice:
                return "a name twice in one object"
        return ""

    def _between_texts(self, character: str) -> None:
        is_bracket = character in "{["
        if not self._has_begun and not is_bracket and not (self._is_text and character == '"'):
            return
        self._has_begun = True
        self._number_chars = self._number_chars + 1 if character in _NUMBER else 0
        if character == '"':
            in_object = bool(self._open) and self._open[-1] is not None
            self._text_chars = 0
            self._name = "" if in_object and self._before in "{," else None
        elif is_bracket:
            self._open.append(set() if character == "{" else None)
        elif character in "}]":
            del self._open[-1:]
            self._is_whole = not self._open
        if character in "{[]},:":
            self._before = character

    def _in_text(self, chunk: str, place: int) -> int:
        """Read on to the end of the text, or of the chunk; returns where."""
        if self._is_escaped:
            self._is_escaped = False
            self._write(chunk[place])
            return place + 1
        found = _END_OF_TEXT.search(chunk, place)
        end = len(chunk) if found is None else found.start()
        self._write(chunk[place:end])
        if found is None:
            return end
        if found[0] == "\\":
            self._is_escaped = True
            self._write("\\")
        else:
            self._end_text()
        return end + 1

    def _write(self, part: str) -> None:
        self._text_chars = (self._text_chars or 0) + len(part)
        if self._name is not None and self._text_chars <= MAX_NAME_CHARS:
            self._name += part

    def _end_text(self) -> None:
        names = self._open[-1] if self._open else None
        if self._name is not None and names is not None:
            self._is_twice = self._name in names and (self._text_chars or 0) <= MAX_NAME_CHARS
            names.add(self._name)
        self._text_chars = self._name = None
        self._is_whole = not self._open

    def _repetition(self, chunk: str) -> str:
        self._tail += chunk
        self._unseen += len(chunk)
        if self._unseen < _STEP_CHARS:
            return ""
        self._tail, self._unseen = self._tail[-_WINDOW_CHARS:], 0
        period = _period(self._tail)
        if not period:
            return ""
        is_long = period >= _LONG_CHARS
        in_text = _span(period, LONG_REPEATS if is_long else TEXT_REPEATS)
        if in_text <= (self._text_chars or 0) and _repeats(self._tail, period, in_text):
            return "the same words without end"
        if _repeats(self._tail, period, _span(period, LIST_REPEATS)):
            return "the same items without end"
        return ""


def longest_text(schema: JsonSchema) -> int | None:
    """The most characters of any text in an instance; None where the schema sets no bound."""
    longest = 0
    if not isinstance(schema, dict):
        return None
    for one in schemas(schema):
        if {"const", "enum"} & one.keys():
            values = [one["const"]] if "const" in one else one["enum"]
            longest = max([longest, *(len(value) for value in values if isinstance(value, str))])
        elif _has_free_names(one) or (_may_be_text(one) and "maxLength" not in one):
            return None
        else:
            names = one.get("properties", {})
            longest = max([longest, one.get("maxLength", 0), *map(len, names)])
    return int(longest)


def _may_be_text(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    if kind is None:
        forms = ("$ref", "anyOf", "oneOf", "allOf", "properties", "items", "prefixItems")
        return not any(word in schema for word in forms)
    return kind == "string" or (isinstance(kind, list) and "string" in kind)


def _has_free_names(schema: Mapping[str, Any]) -> bool:
    """Whether an object of this schema may have names that are not in it."""
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if "properties" not in schema:
        return is_object and schema.get("additionalProperties") is not False
    return schema.get("additionalProperties", False) is not False


def _period(tail: str) -> int:
    """How long the piece is that may repeat itself at the end; 0 for none."""
    before = tail.rfind(tail[-_PROBE_CHARS:], 0, -1)
    return 0 if before < 0 else len(tail) - _PROBE_CHARS - before


def _span(period: int, least: tuple[int, int]) -> int:
    """Over how many characters a piece has to repeat itself."""
    repeats, characters = least
    return max(repeats * period, characters)


def _repeats(tail: str, period: int, span: int) -> bool:
    return len(tail) >= span and tail[-span:-period] == tail[period - span :]
