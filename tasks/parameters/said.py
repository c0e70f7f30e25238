"""What a message says: whether a value stands in it, and whether another parameter has it already.

Only what can be checked is: numbers, dates and times, e-mail addresses, URLs, and texts, by their
words. No language is taken for granted: words are compared by their letters, and a text in another
script than the message's cannot be checked. What is a matter of choice (an enum, true or false)
cannot either.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from local_llm_service.tasks.parameters.numbers import Numbers

#: So much of a text's letters has to stand in the message. A name with a title or a state is said.
ENOUGH: Final = 0.5
#: Letters of a word that may differ at its end ("camping" for "camp"), and what has to be left.
_ENDING, _STEM = 3, 4
_WORD = re.compile(r"\w+")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ].*)?|(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
_TIME = re.compile(r"(\d{1,2}):\d{2}(?::\d{2})?(?: ?[ap]\.?m\.?)?")
_DIGITS = re.compile(r"\d+")
_EXACT = re.compile(r"[^@\s]+@[^@\s]+|[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
#: Months are looked for by number, and by name in English alone.
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Verdict(StrEnum):
    """What a message has to do with a value."""

    SAID = "said"
    UNSAID = "unsaid"
    #: It is said, but as the value of another parameter.
    TAKEN = "taken"


class Said:
    """A message, and what of it parameters have taken: each mention counts for one of them."""

    def __init__(self, message: str) -> None:
        self._text = _folded(message)
        self._numbers = Numbers(message)
        self._taken: Counter[Decimal | str] = Counter()

    def take(self, value: Any) -> Verdict:
        """Whether the message says a parameter's value; one that it says is taken then."""
        if not self.says(value):
            return Verdict.UNSAID
        if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
            return Verdict.SAID
        key, mentions = self._mentions(value)
        if mentions and self._taken[key] >= mentions:
            return Verdict.TAKEN
        self._taken[key] += 1
        return Verdict.SAID

    def _mentions(self, value: float | str) -> tuple[Decimal | str, int]:
        if isinstance(value, str):
            text = _folded(value)
            return text, self._text.count(text)
        return Decimal(repr(value)), self._numbers.count(value)

    def says(self, value: Any) -> bool:
        """Whether nothing speaks against it that the message says a value, with all of its parts.

        Of texts in a list one is enough; see `kept`.
        """
        if isinstance(value, bool) or value is None:
            return True
        if isinstance(value, int | float):
            return self._numbers.count(value) > 0
        if isinstance(value, str):
            return self._says_text(value)
        if isinstance(value, list):
            texts = [one for one in value if isinstance(one, str)]
            others = (self.says(one) for one in value if not isinstance(one, str))
            return all(others) and (not texts or any(self.says(one) for one in texts))
        return all(self.says(one) for one in value.values())

    @property
    def most_elements(self) -> int:
        """More elements than this no list of what the message says can have."""
        words = _WORD.findall(self._text)
        return max(1, sum(len(word) if _is_unspaced(word) else 1 for word in words))

    def kept(self, value: Any) -> Any:
        """A list without the texts that the message does not say, or not so often.

        Any other value as it is.
        """
        if not isinstance(value, list):
            return value
        kept: list[Any] = []
        seen: Counter[str] = Counter()
        for one in value:
            if isinstance(one, str):
                text = _folded(one)
                seen[text] += 1
                if not self.says(one) or seen[text] > max(1, self._text.count(text)):
                    continue
            kept.append(one)
        return kept

    def mended(self, value: Any) -> Any:
        """The value with numbers that were copied badly as the message has them."""
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._numbers.whole(value)
        if isinstance(value, list):
            return [self.mended(one) for one in value]
        if isinstance(value, dict):
            return {name: self.mended(one) for name, one in value.items()}
        return value

    def _says_text(self, value: str) -> bool:
        text = _folded(value)
        if not text or text in self._text:
            return True
        if _EXACT.fullmatch(text):
            return False
        if date := _DATE.fullmatch(text):
            return self._says_date(date)
        if time := _TIME.fullmatch(text):
            hour = int(time[1])
            return any(self._numbers.count(one) for one in (hour, hour % 12 or 12))
        return self._has_digits(text) and self._share(text) >= ENOUGH

    def _has_digits(self, text: str) -> bool:
        """Whether all digits of a text stand in the message, however they are grouped."""
        groups = _DIGITS.findall(text)
        if all(group in self._digits or self._numbers.count(int(group[:30])) for group in groups):
            return True
        return "".join(groups) in "".join(_DIGITS.findall(self._text))

    def _says_date(self, date: re.Match[str]) -> bool:
        """Day and year by number; the month, too, if the message names a month in English."""
        if date[1]:
            year, ways = int(date[1]), [(int(date[2]), int(date[3]))]
        else:
            one, other = int(date[4]), int(date[5])
            year, ways = int(date[6]), [(one, other), (other, one)]
        if not (self._numbers.count(year) or self._numbers.count(year % 100)):
            return False
        return any(self._numbers.count(day) and self._may_be(month) for month, day in ways)

    def _may_be(self, month: int) -> bool:
        named = {word[:3] for word in self._words} & set(_MONTHS)
        return not named or self._numbers.count(month) > 0 or _MONTHS[(month - 1) % 12] in named

    def _share(self, text: str) -> float:
        """How much of a text's letters and digits belongs to words of the message, 0 to 1."""
        words = _WORD.findall(text)
        checked = [word for word in words if not word.isdecimal() and self._has_script(word)]
        letters = sum(map(len, checked))
        if not letters:
            return 1.0
        return sum(len(word) * self._part(word) for word in checked) / letters

    def _part(self, word: str) -> float:
        """How much of a word stands in the message."""
        if word in self._words:
            return 1.0
        if _is_unspaced(word):
            pairs = [word[place : place + 2] for place in range(max(1, len(word) - 1))]
            return sum(pair in self._text for pair in pairs) / len(pairs)
        stem = word[: max(_STEM, len(word) - _ENDING)]
        return float(len(word) >= _STEM and stem in self._stems.get(len(stem), ()))

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(_WORD.findall(self._text))

    @cached_property
    def _digits(self) -> frozenset[str]:
        return frozenset(_DIGITS.findall(self._text))

    @cached_property
    def _stems(self) -> dict[int, set[str]]:
        """The beginnings of words, by length, that leave no more than an ending."""
        stems: dict[int, set[str]] = {}
        for word in self._words:
            for length in range(max(_STEM, len(word) - _ENDING), len(word) + 1):
                stems.setdefault(length, set()).add(word[:length])
        return stems

    @cached_property
    def _scripts(self) -> frozenset[str]:
        return frozenset(_script(letter) for letter in set(self._text) if letter.isalpha())

    def _has_script(self, word: str) -> bool:
        scripts = {_script(letter) for letter in word if letter.isalpha()}
        return not scripts or bool(scripts & self._scripts)


def _folded(text: str) -> str:
    """Without differences of case, width, and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _script(letter: str) -> str:
    """A letter's script as its Unicode name says it."""
    return unicodedata.name(letter, "").partition(" ")[0]


def _is_unspaced(word: str) -> bool:
    """Whether it is of a script without case, of which many have no spaces between words."""
    return any(unicodedata.category(letter) == "Lo" for letter in word)
