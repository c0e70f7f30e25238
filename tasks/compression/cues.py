"""The words of cues.toml: by which a sentence shows what it is for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".toml")
#: Between the two halves of a cue such as "keep … under", at most so many characters.
_GAP = r"[^.!?\n]{1,40}?"
#: Scripts that put no space between words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@cache
def words_of(section: str) -> Mapping[str, list[str]]:
    """A section of the file: groups of words, by language or by meaning."""
    groups: dict[str, dict[str, list[str]]] = _file()
    return groups[section]


@cache
def cue(section: str) -> re.Pattern[str]:
    """What finds any word of a section in a text, in whatever case."""
    return whole_words(word for words in words_of(section).values() for word in words)


@cache
def leading_cue(section: str) -> re.Pattern[str]:
    """The same at the beginning of a text, or of a part behind a sign."""
    return re.compile(rf"(?:^|[.!?:;,(–—]\s?)\W{{0,3}}(?:{cue(section).pattern})", re.IGNORECASE)


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """What finds any of the words, not as part of a longer one where a script has spaces."""
    spaced: list[str] = []
    unspaced: list[str] = []
    for word in sorted(set(words), key=len, reverse=True):
        escaped = _GAP.join(re.escape(half.strip()) for half in word.split("…"))
        (unspaced if _UNSPACED.search(word) else spaced).append(escaped)
    parts = [rf"(?<!\w)(?:{'|'.join(spaced)})(?!\w)"] if spaced else []
    parts += unspaced
    return re.compile("|".join(parts), re.IGNORECASE)


@cache
def groups_by_word(section: str) -> Mapping[str, str]:
    """The group of each word of a section."""
    return {word: group for group, words in words_of(section).items() for word in words}


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
