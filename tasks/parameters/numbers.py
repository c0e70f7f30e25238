"""The numbers that a text gives: in digits of any script, and in words of eight languages.

"5%" may be meant as 5 and as 0.05, "1,234" as 1234 and as 1.234: a mention has several readings.
Words are read in the languages of the package text2num (Danish, Dutch, English, French, German,
Italian, Portuguese, Spanish), each of them for itself, as nobody says which one the text is in.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Final

LANGUAGES: Final = ("en", "de", "es", "fr", "it", "pt", "nl", "da")
#: text2num takes more than twice as long for a text twice as long, so it gets pieces of this size.
_PIECE_CHARS = 1000
#: Digits that are more than a number: they are compared as text.
_DIGITS = 30
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]])[-\N{MINUS SIGN}]\s?)?"
    r"(?<![\d.,])"
    rf"(?P<digits>\d{{1,3}}(?:[,'\u2019 ]\d{{3}}){{1,6}}(?:\.\d{{1,{_DIGITS}}})?"
    rf"|\d{{1,3}}(?:\.\d{{3}}){{2,6}}(?:,\d{{1,{_DIGITS}}})?"
    rf"|\d{{1,{_DIGITS}}}(?:[.,]\d{{1,{_DIGITS}}})?(?:[eE][-+]?\d{{1,3}})?|\.\d{{1,{_DIGITS}}})"
    r"(?!\d)\s?(?P<unit>%|[kKMB](?!\w)|[bm]n(?!\w))?"
)
_PERCENT = re.compile(r"\s?(?:percent|per cent|Prozent|pour cent|por ciento|por cento|per cento)\b")
_GROUPED = re.compile(r"\d{1,3}(?:[,'\u2019 ]\d{3})+(?:\.\d+)?")
_GROUPED_BY_POINTS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_TIMES = {"k": 10**3, "m": 10**6, "b": 10**9}
#: What text2num makes of "million" behind digits.
_SCALE = re.compile(r"(?<=\d)\s(1000|1000000|1000000000)\b")
_WORD = re.compile(r"[^\W\d_]+")


class Numbers:
    """The numbers of a text. `count` says how often it gives a value, by any reading."""

    def __init__(self, text: str) -> None:
        self._text = unicodedata.normalize("NFKC", text)

    def count(self, value: float) -> int:
        """How many mentions may mean this value; 0: the text does not give it."""
        wanted = Decimal(repr(value))
        # Words are looked at only where digits do not settle it.
        return self._in_digits[wanted] or self._in_words[wanted]

    @cached_property
    def _in_digits(self) -> Counter[Decimal]:
        return _counted(self._text)

    @cached_property
    def _in_words(self) -> Counter[Decimal]:
        found: Counter[Decimal] = Counter()
        for language in LANGUAGES:
            found |= _counted(_in_figures(self._text, language))
        return found


def _counted(text: str) -> Counter[Decimal]:
    return Counter(reading for mention in _mentions(text) for reading in mention)


def _mentions(text: str) -> Iterator[set[Decimal]]:
    """For each number in a text what it may mean."""
    for match in _NUMBER.finditer(_PERCENT.sub("%", text)):
        values = {Decimal(form) for form in _forms(match["digits"])}
        unit = (match["unit"] or "").lower()
        if unit == "%":
            values |= {value / 100 for value in values}
        elif unit:
            values |= {value * _TIMES[unit[0]] for value in values}
        if match["sign"]:
            values |= {-value for value in values}  # "3-5" is no sign, "- 5" may be an item
        yield values


def _forms(digits: str) -> set[str]:
    """A number as Python writes it, for each way to read points and commas."""
    forms = set()
    if _GROUPED.fullmatch(digits):
        forms.add(re.sub(r"[^\d.]", "", digits))
    if _GROUPED_BY_POINTS.fullmatch(digits):
        forms.add(digits.replace(".", "").replace(",", "."))
    whole, comma, rest = digits.partition(",")
    if comma and rest.isdecimal() and whole.isdecimal():
        forms |= {f"{whole}.{rest}", whole, rest}  # 2,5 hours, and the point (3,4)
    if re.fullmatch(r"\d*\.?\d+(?:[eE][-+]?\d+)?", digits):
        forms.add(digits)
    return forms


def _in_figures(text: str, language: str) -> str:
    """The text with numbers in words of one language as digits."""
    # Here, because who sends a job needs nothing of it.
    from text_to_num import alpha2digit

    known: dict[str, bool] = {}

    def is_number(word: str) -> bool:
        if word not in known:
            known[word] = alpha2digit(word, language, 0) != word
        return known[word]

    parts = [
        alpha2digit(piece, language, 0)
        for piece in _pieces(text)
        if any(is_number(word) for word in _WORD.findall(piece))
    ]
    return _SCALE.sub(lambda scale: "kMB"[len(scale[1]) // 3 - 1], "\n".join(parts))


def _pieces(text: str) -> Iterator[str]:
    """Pieces of whole words, except in scripts without spaces."""
    place = 0
    while place < len(text):
        end = place + _PIECE_CHARS
        space = text.rfind(" ", place, end) if end < len(text) else -1
        end = space if space > place else end
        yield text[place:end]
        place = end
