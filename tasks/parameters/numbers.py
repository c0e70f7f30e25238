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
from dataclasses import dataclass, field
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
    r"(?<![\d.])"
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
        return self._in_digits.counts[wanted] or self._in_words.counts[wanted]

    def whole(self, value: float) -> float:
        """The number of which a value is what is left when it is copied badly.

        A model that copies "200,000" may stop at the comma, and "-4" may lose its sign. It is the
        value itself where the text gives that, or where it is a part of none or of several.
        """
        found = self._in_digits.wholes.get(Decimal(repr(value)), set())
        if self.count(value) or len(found) != 1:
            return value
        (number,) = found
        return int(number) if number == number.to_integral_value() else float(number)

    @cached_property
    def _in_digits(self) -> _Tally:
        return _Tally.of(self._text)

    @cached_property
    def _in_words(self) -> _Tally:
        tally = _Tally()
        for language in LANGUAGES:
            tally.counts |= _Tally.of(_in_figures(self._text, language)).counts
        return tally


@dataclass(slots=True)
class _Tally:
    """How often a text gives a value, and the numbers that begin with a part."""

    counts: Counter[Decimal] = field(default_factory=Counter)
    wholes: dict[Decimal, set[Decimal]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> _Tally:
        """Of all numbers in digits."""
        tally = cls()
        for match in _NUMBER.finditer(_PERCENT.sub("%", text)):
            tally._add(match)
        return tally

    def _add(self, match: re.Match[str]) -> None:
        """Enter what one number may mean."""
        digits, unit, sign = match["digits"], (match["unit"] or "").lower(), match["sign"] or ""
        values = {Decimal(form) for form in _forms(digits)}
        parts = _parts(digits)
        if unit == "%":
            values |= {value / 100 for value in values}
        elif unit:
            values |= {value * _TIMES[unit[0]] for value in values}
        if sign and not sign[1:]:
            parts |= values | {-part for part in parts}
            values = {-value for value in values}
        elif sign:  # "- 5" may be an item of a list
            values |= {-value for value in values}
        self.counts.update(values)
        whole = max(values, key=abs)
        for part in parts:
            self.wholes.setdefault(part, set()).add(whole)


def _parts(digits: str) -> set[Decimal]:
    """What a copy of a number with separators may stop at: its first group, and more."""
    if not _GROUPED.fullmatch(digits):
        return set()
    whole = re.sub(r"[^\d.]", "", digits).partition(".")[0]
    first = len(re.match(r"\d+", digits)[0])  # type: ignore[index]
    return {Decimal(whole[:end]) for end in range(first, len(whole))}


def _forms(digits: str) -> set[str]:
    """A number as Python writes it, for each way to read points and commas."""
    forms = set()
    is_grouped = _GROUPED.fullmatch(digits) is not None
    if is_grouped:
        forms.add(re.sub(r"[^\d.]", "", digits))
    if _GROUPED_BY_POINTS.fullmatch(digits):
        forms.add(digits.replace(".", "").replace(",", "."))
    whole, comma, rest = digits.partition(",")
    if comma and rest.isdecimal() and whole.isdecimal():
        # 2,5 hours; and the point (3,4), but not the parts of 200,000
        forms |= set() if is_grouped else {whole, rest}
        forms |= set() if is_grouped and not int(rest) else {f"{whole}.{rest}"}
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
