"""What a function's docstring says of it and of each parameter, for function_schema.py.

Reads the sections of Google's and NumPy's styles and Sphinx's fields, which all name a parameter at
the margin and say more in what is indented below. Whatever else stands there is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from itertools import pairwise, takewhile
from textwrap import dedent

_GOOGLE = re.compile(r"(?:Args|Arguments|Params|Parameters|Keyword Arg(?:ument)?s):")
_GOOGLE_NAME = re.compile(r"\*{0,2}(\w+) *(?:\(.*?\))? *:(.*)")
_NUMPY = ("Parameters", "Other Parameters")
_SPHINX = ("param", "parameter", "arg", "argument", "key", "keyword")

#: The parameters that a line at the margin names, and the rest of it; None: it names none.
_Read = Callable[[str], tuple[list[str], str] | None]


@dataclass(frozen=True, slots=True)
class Docstring:
    """`summary` is the first paragraph; `parameters` has the text of each one that has any."""

    summary: str
    parameters: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Read a docstring of any style; without one, all is empty."""
    lines = cleandoc(text or "").split("\n")
    found: dict[str, str] = {}
    for named in (_of_google(lines), _of_numpy(lines), _entries(lines, _sphinx_field)):
        for names, words in named:
            found |= dict.fromkeys(names, words) if words else {}
    summary = takewhile(lambda place: _is_prose(lines, place), range(len(lines)))
    return Docstring(" ".join(lines[place].strip() for place in summary), found)


def _of_google(lines: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    for place, line in enumerate(lines):
        if _GOOGLE.fullmatch(line.rstrip()):
            section = takewhile(lambda one: not one or one[0].isspace(), lines[place + 1 :])
            yield from _entries(dedent("\n".join(section)).split("\n"), _google_name)


def _of_numpy(lines: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    headings = [place for place in range(len(lines)) if _is_underlined(lines, place)]
    for place, end in pairwise([*headings, len(lines)]):
        if lines[place].strip() in _NUMPY:
            yield from _entries(lines[place + 2 : end], _numpy_names)


def _entries(lines: Iterable[str], read: _Read) -> Iterator[tuple[list[str], str]]:
    """Each entry's names with its words: the rest of its line and all that is indented below."""
    names: list[str] = []
    words: list[str] = []
    for line in lines:
        if line and not line[0].isspace():
            yield names, " ".join(words)
            names, rest = read(line) or ([], "")
            words = [rest]
        words = [word for word in (*words, line.strip() if line[:1].isspace() else "") if word]
    yield names, " ".join(words)


def _google_name(line: str) -> tuple[list[str], str] | None:
    match = _GOOGLE_NAME.match(line)
    return None if match is None else ([match[1]], match[2].strip())


def _numpy_names(line: str) -> tuple[list[str], str]:
    names, _, _ = line.partition(":")
    return [name.strip().lstrip("*") for name in names.split(",")], ""


def _sphinx_field(line: str) -> tuple[list[str], str] | None:
    """`:param name: …`, `:param type name: …`, and Epytext's `@param name: …`."""
    field, colon, rest = line[1:].partition(":")
    words = field.split()
    if line[0] not in ":@" or not colon or len(words) < 2 or words[0] not in _SPHINX:
        return None
    return [words[-1].lstrip("*")], rest.strip()


def _is_underlined(lines: Sequence[str], place: int) -> bool:
    """Whether a line is the heading of a section in NumPy's style."""
    below = lines[place + 1].strip() if place + 1 < len(lines) else ""
    return bool(lines[place].strip()) and len(below) >= 3 and not below.strip("-")


def _is_prose(lines: Sequence[str], place: int) -> bool:
    """Whether a line belongs to the first paragraph."""
    line = lines[place].rstrip()
    is_head = _GOOGLE.fullmatch(line) or _is_underlined(lines, place)
    return bool(line) and not is_head and _sphinx_field(line) is None
