"""Sorts a text's characters by Unicode's data: letters by script, digits, white space, marks.

A tokenizer treats the characters of one class about alike: it writes four Latin letters as one
token, and one Thai letter as two.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

SPACE, DIGIT, MARK, OTHER = "space", "digit", "mark", "other"
#: Plain letters; those of a text that has letters with marks beside them, and so another language
#: than English; letters that are rare in most languages; letters with marks; capitals.
LATIN, LATIN_BESIDE_MARKED, LATIN_RARE = "latin", "latin_beside_marked", "latin_rare"
LATIN_MARKED, LATIN_CAPITAL = "latin_marked", "latin_capital"
LATIN_CLASSES = {LATIN, LATIN_BESIDE_MARKED, LATIN_RARE, LATIN_MARKED, LATIN_CAPITAL}
_RARE = frozenset("jkqvwxz")
#: A text with more plain letters than this for each byte of marked ones counts as English.
_PLAIN_FOR_EACH_MARKED = 100

#: Scripts by the first word of their characters' names in Unicode. All others count as one class.
_SCRIPTS = (
    "ARABIC ARMENIAN BENGALI CJK CYRILLIC DEVANAGARI ETHIOPIC GEORGIAN GREEK GUJARATI GURMUKHI "
    "HANGUL HEBREW HIRAGANA KANNADA KATAKANA KHMER LAO MALAYALAM MYANMAR SINHALA TAMIL TELUGU THAI "
    "TIBETAN"
)
SCRIPTS = frozenset(_SCRIPTS.lower().split())
CLASSES = SCRIPTS | LATIN_CLASSES | {SPACE, DIGIT, MARK, OTHER}
_FIRST_WORD = re.compile(r"[A-Z]+")


def bytes_by_class(text: str) -> Mapping[str, int]:
    """How many bytes of a text, in UTF-8, are of each class of characters."""
    found: dict[str, int] = {}
    for character, times in Counter(text).items():
        name, size = _class_of(character)
        found[name] = found.get(name, 0) + size * times
    if found.get(LATIN, 0) <= _PLAIN_FOR_EACH_MARKED * found.get(LATIN_MARKED, 0) > 0:
        found[LATIN_BESIDE_MARKED] = found.pop(LATIN, 0)
    return found


@lru_cache(maxsize=8192)
def _class_of(character: str) -> tuple[str, int]:
    """The class of a character, and its bytes."""
    return _name(character), len(character.encode("utf-8", "surrogatepass"))


def _name(character: str) -> str:
    if character.isspace():
        return SPACE
    category = unicodedata.category(character)
    word = _FIRST_WORD.match(unicodedata.name(character, ""))
    script = "" if word is None else word[0].lower()
    # A vowel sign is part of its script's words; an accent that stands alone is of no script.
    if category[0] in "LM" and script in SCRIPTS:
        return script
    if category[0] == "L" and script == "latin":
        if not character.isascii():
            return LATIN_MARKED
        if category == "Lu":
            return LATIN_CAPITAL
        return LATIN_RARE if character in _RARE else LATIN
    if category == "Nd":
        return DIGIT
    return MARK if category[0] in "PS" else OTHER
