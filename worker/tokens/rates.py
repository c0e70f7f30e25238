"""How many tokens a text has, told from its characters by what one model's answers have taught.

A rate is tokens for each byte of one class of characters. Every text whose tokens the model has
counted teaches the rates of its classes: what was counted is shared out among them in proportion
to what was expected of each.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from local_llm_service.worker.tokens.characters import (
    CLASSES,
    DIGIT,
    LATIN,
    LATIN_BESIDE_MARKED,
    LATIN_CAPITAL,
    LATIN_MARKED,
    LATIN_RARE,
    MARK,
    OTHER,
    SPACE,
    bytes_by_class,
)

#: What holds of a class that nothing has taught yet, on the high side, and how many bytes of
#: experience it counts as. All other scripts: `_SCRIPT_RATE`.
_UNTAUGHT = {
    LATIN: 0.35, LATIN_BESIDE_MARKED: 0.5, LATIN_RARE: 0.5, LATIN_CAPITAL: 0.6, LATIN_MARKED: 0.7,
    SPACE: 0.15, DIGIT: 1.0, MARK: 0.8, OTHER: 1.0,
}  # fmt: skip
_SCRIPT_RATE = 0.8
_UNTAUGHT_BYTES = 300
#: Rates that no tokenizer has; a caller whose texts would teach them does not spoil the others'.
_LEAST = {SPACE: 0.01}
_LEAST_RATE = 0.08
#: One text teaches at most this many bytes, and moves what was expected at most by this factor.
_LESSON_BYTES = 4096
_LESSON_FACTOR = 2.5
#: A text that is shorter, or that repeats few characters, teaches nothing.
_LESSON_LEAST_BYTES = 100
_LESSON_LEAST_CHARACTERS = 12
#: How far above the mean an estimate for sizing is: a language may need twice another's tokens in
#: the same letters, but the texts of one model are mostly of one kind.
_LIKELY = 1.25
#: A bound holds for random letters too, of which three in five are tokens (measured); it counts
#: after so many bytes of experience.
_MOST, _MOST_LEAST_RATE, _MOST_BYTES = 2.5, 0.7, 2000
#: Classes of ASCII letters have it. Of all others each byte may be a token of its own: also in a
#: script whose usual letters are cheap there are some that no tokenizer knows.
_BOUNDED = (LATIN, LATIN_BESIDE_MARKED, LATIN_CAPITAL)
#: Some tokenizers put a space before a text.
_BORDER = 1


@dataclass(slots=True)
class Experience:
    """What was seen of one class: bytes, and thousandths of the tokens that they had."""

    bytes: int = 0
    millitokens: int = 0


class TokenRates:
    """The rates of one model; threads share them. `untold` is what Redis does not know yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Experience] = {}
        self._untold: Counter[str] = Counter()

    def most_tokens(self, text: str) -> int:
        """No fewer tokens than the text has: by its bytes, and less of letters once known."""
        sizes = bytes_by_class(text)
        return int(sum(size * self._most(name) for name, size in sizes.items())) + _BORDER + 1

    def likely_tokens(self, text: str) -> int:
        """About as many tokens as the text has, rather too many."""
        sizes = bytes_by_class(text)
        likely = int(_LIKELY * self._expected(sizes)) + _BORDER + 1
        return min(likely, sum(sizes.values()) + _BORDER)

    def expected_tokens(self, texts: Iterable[str]) -> float:
        """The mean of what texts like these have, all together."""
        return sum(self._expected(bytes_by_class(text)) for text in texts)

    def learn(self, text: str, tokens: int) -> None:
        """Note that the model has counted so many tokens in a text."""
        if len(text) < _LESSON_LEAST_BYTES:
            return
        sizes = bytes_by_class(text)
        total = sum(sizes.values())
        # More tokens than bytes: the model also counted what is no part of the text.
        if not 0 < tokens <= total or len(set(text)) < _LESSON_LEAST_CHARACTERS:
            return
        expected = {name: size * self.rate(name) for name, size in sizes.items()}
        factor = tokens / sum(expected.values())
        factor = min(max(factor, 1 / _LESSON_FACTOR), _LESSON_FACTOR)
        share = min(1.0, _LESSON_BYTES / total)
        lesson = Counter[str]()
        for name, size in sizes.items():
            lesson[f"{name}:bytes"] = round(size * share)
            lesson[f"{name}:millitokens"] = round(1000 * share * min(expected[name] * factor, size))
        with self._lock:
            self._add(lesson)
            self._untold += lesson

    def take_untold(self) -> dict[str, int]:
        """What was learned since the last call, as numbers to add to what Redis has."""
        with self._lock:
            untold, self._untold = self._untold, Counter()
        return dict(untold)

    def give_back(self, untold: Mapping[str, int]) -> None:
        """Keep what could not be told for the next time."""
        with self._lock:
            self._untold += Counter(untold)

    def replace(self, known: Mapping[str, int]) -> None:
        """Take over what all workers have learned; what is untold is added to it."""
        with self._lock:
            self._known = {}
            self._add(known)
            self._add(self._untold)

    def _add(self, lesson: Mapping[str, int]) -> None:
        for field, number in lesson.items():
            name, _, what = field.partition(":")
            if name not in CLASSES:
                continue  # of a later version
            known = self._known.setdefault(name, Experience())
            if what == "bytes":
                known.bytes += number
            elif what == "millitokens":
                known.millitokens += number

    def rate(self, name: str) -> float:
        """Tokens for each byte of one class of characters: above 0, and 1 at most."""
        known = self._known.get(name, _NOTHING)
        before = _UNTAUGHT.get(name, _SCRIPT_RATE) * _UNTAUGHT_BYTES
        rate = (known.millitokens / 1000 + before) / (known.bytes + _UNTAUGHT_BYTES)
        return min(max(rate, _LEAST.get(name, _LEAST_RATE)), 1.0)

    def _expected(self, sizes: Mapping[str, int]) -> float:
        return sum(size * self.rate(name) for name, size in sizes.items())

    def _most(self, name: str) -> float:
        if name not in _BOUNDED or self._known.get(name, _NOTHING).bytes < _MOST_BYTES:
            return 1.0
        return min(max(_MOST * self.rate(name), _MOST_LEAST_RATE), 1.0)


_NOTHING = Experience()
