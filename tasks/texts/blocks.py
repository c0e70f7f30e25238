"""A text's lines, in the blocks that people write: paragraphs, list items, table rows, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦–]|\(?(?:\d{1,3}|[A-Za-z])[.)])(?=\s)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_ROW = re.compile(r"\s*\|")


class Form(Enum):
    """What a block is."""

    PROSE = auto()
    ITEM = auto()
    HEADING = auto()
    ROW = auto()
    CODE = auto()
    OPEN_CODE = auto()


@dataclass(frozen=True, slots=True)
class Block:
    """`text` ends with the white space that stands before the next block."""

    form: Form
    text: str

    @property
    def marker(self) -> str:
        """What makes a line a list's item; empty in any other block."""
        found = _ITEM.match(self.text) if self.form is Form.ITEM else None
        return found[0] if found else ""


def blocks(text: str) -> list[Block]:
    """The blocks of a text; together they are the text."""
    found: list[tuple[Form, list[str]]] = []
    lines = _lines(text)
    may_go_on = False  # whether a plain line goes on with what stands before it
    for line in lines:
        if not line.strip():
            may_go_on = False
            if not found:
                found.append((Form.PROSE, []))
            found[-1][1].append(line)
            continue
        if fence := _FENCE.match(line):
            found.append(_code(line, fence[1], lines))
            may_go_on = False
            continue
        form = _form(line)
        if form is Form.PROSE and may_go_on:
            found[-1][1].append(line)
        else:
            found.append((form, [line]))
        may_go_on = form in (Form.PROSE, Form.ITEM)
    return [Block(form, "".join(parts)) for form, parts in found]


def _lines(text: str) -> Iterator[str]:
    """Lines by line feeds alone: other controls may stand inside a sentence."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        yield text[begin:end]
        begin = end


def _form(line: str) -> Form:
    if _HEADING.match(line):
        return Form.HEADING
    if _ROW.match(line):
        return Form.ROW
    return Form.ITEM if _ITEM.match(line) else Form.PROSE


def _code(first: str, fence: str, lines: Iterator[str]) -> tuple[Form, list[str]]:
    """A block of code, up to the fence that closes it."""
    parts = [first]
    for line in lines:
        parts.append(line)
        closing = line.strip()
        if len(closing) >= len(fence) and set(closing) == {fence[0]}:
            return Form.CODE, parts
    return Form.OPEN_CODE, parts
