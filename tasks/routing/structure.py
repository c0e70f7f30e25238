"""What can be seen of a prompt without understanding it: its length, questions, steps and code.

Any text of any language takes well under a millisecond: of a long one only its beginning and its
end are looked at. No expression here can go back over what it has read, so none has a worst case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Characters at either end of a prompt that are looked at.
LOOKED_AT = 2000
#: Lines of either end that are looked at.
_LINES = 100
#: More of one thing says nothing more.
MOST = 20
#: So many characters of Latin text say what one Chinese, Japanese or Korean character does.
_WIDE_CHARACTERS = 3
#: Chinese, Japanese and Korean characters, as the inside of a character class.
WIDE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"

_WIDE = re.compile(f"[{WIDE}]+")
#: A question mark that ends something, not one inside an address.
_QUESTION = re.compile("\\?(?=[\\s\"'»”’)\\]*_]|$)|[？؟՞፧⸮\u037e]")
#: A list's number; what may stand before it is looked at once it is found, which is much faster.
_NUMBER = re.compile(r"\d{1,2}[.)、](?=\s)")
_BULLETS = ("- ", "* ", "• ")
_FENCE = "```"
#: How lines of code and of JSON begin and end, and lines of prose do not.
_CODE_BEGINS = ("{", "}", "[", "]", "</", "#include", "//")
_CODE_ENDS = (";", "{", "}", "[", "];", "},", "],", "):", ") {")


@dataclass(frozen=True, slots=True)
class Structure:
    """`characters`: all of the prompt, as of Latin text. The others: as far as looked at, to MOST.

    `code_lines` are also those of JSON.
    """

    characters: int
    questions: int
    steps: int
    code_lines: int


def structure(prompt: str) -> Structure:
    """Look at a prompt's beginning and end."""
    parts = ends(prompt)
    seen = sum(map(len, parts)) or 1
    wide = sum(len(run) for part in parts for run in _WIDE.findall(part))
    characters = len(prompt) + len(prompt) * wide * (_WIDE_CHARACTERS - 1) // seen
    questions = sum(len(_QUESTION.findall(part)) for part in parts)
    bullets, code_lines = (sum(some) for some in zip(*map(_lines, parts), strict=True))
    steps = bullets + sum(map(_numbers, parts))
    return Structure(characters, min(questions, MOST), min(steps, MOST), min(code_lines, MOST))


def ends(prompt: str) -> tuple[str, ...]:
    """What is looked at of a prompt: all of it, or its beginning and its end."""
    if len(prompt) <= 2 * LOOKED_AT:
        return (prompt,)
    return prompt[:LOOKED_AT], prompt[-LOOKED_AT:]


def _numbers(part: str) -> int:
    """Numbers of a list, at most MOST: they begin a line, or stand between words."""
    found = 0
    for one in _NUMBER.finditer(part):
        before = part[one.start() - 1] if one.start() else " "
        found += before == "(" or before.isspace()
        if found == MOST:
            break
    return found


def _lines(part: str) -> tuple[int, int]:
    """Lines that begin with a bullet; lines between fences, and lines that begin or end as those of
    a program or of JSON."""
    bullets, code, fenced = 0, 0, False
    for line in part.split("\n", _LINES)[:_LINES]:
        bare = line.strip()
        if bare.startswith(_FENCE):
            fenced = not fenced
        elif bare and (fenced or bare.startswith(_CODE_BEGINS) or bare.endswith(_CODE_ENDS)):
            code += 1
        elif bare.startswith(_BULLETS):
            bullets += 1
    return bullets, code
