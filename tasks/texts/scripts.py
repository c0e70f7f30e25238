"""What of a text depends on its script: abbreviations, full stops, and where there are none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

#: Letters that are looked at, so that a long text costs no more than a short one.
_SAMPLE = 200
#: The language whose abbreviations a script's texts are read by; English for all others.
_LANGUAGES = {"CYRILLIC": "ru", "GREEK": "el"}
_FULL_STOPS = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "。"),
    **dict.fromkeys(("DEVANAGARI", "BENGALI", "GURMUKHI", "ORIYA"), "।"),
    "ARMENIAN": "։",
    "ETHIOPIC": "።",
    "KHMER": "។",
    "MYANMAR": "။",
    "TIBETAN": "།",
}
#: Full stops that end a sentence wherever they stand.
FULL_STOPS = frozenset("".join(_FULL_STOPS.values()))
#: These scripts set no space between words: a space ends a phrase, and often is all that does.
PHRASE_SCRIPTS = frozenset({"THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"})
_PHRASE_LETTERS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
#: White space between two letters of those scripts, not beside a number or a foreign word.
PHRASE_BREAK = re.compile(rf"(?<=[{_PHRASE_LETTERS}])\s+(?=[{_PHRASE_LETTERS}])")


def script_of(text: str) -> str:
    """The script of most of a text's first letters, in Unicode's word; empty without letters."""
    letters = (char for char in text[: 4 * _SAMPLE] if char.isalpha())
    scripts = Counter(
        unicodedata.name(char, "").partition(" ")[0]
        for char, _ in zip(letters, range(_SAMPLE), strict=False)
    )
    return scripts.most_common(1)[0][0] if scripts else ""


def language_of(script: str) -> str:
    """The language, in ISO 639-1, by whose rules a text of this script is read."""
    return _LANGUAGES.get(script, "en")


def full_stop(script: str) -> str:
    """The mark that ends a statement; empty where a script has none."""
    return "" if script in {"THAI", "LAO"} else _FULL_STOPS.get(script, ".")
