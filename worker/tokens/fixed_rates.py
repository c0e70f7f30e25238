"""The rates by which one job sizes what it asks, from its first run to its last.

Rates are learned all the while. A job that sized its pieces by other rates when it runs again would
cut its text elsewhere and find none of its steps. So its first rates stay its own; and they are
rounded, so that jobs which come later mostly have the same and find its pieces, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from local_llm_service.worker.tokens.characters import CLASSES, bytes_by_class
from local_llm_service.worker.tokens.rates import TokenRates

#: Steps of the rounding, up, to each doubling of a rate.
_STEPS = 4
#: How far above the rounded rate an estimate is.
_LIKELY = 1.15
#: As in rates.py.
_BORDER = 1
_LEAST_STEP = -40


class FixedRates:
    """Rates that do not change: of each class of characters, the step of the rounding."""

    def __init__(self, steps: Mapping[str, int]) -> None:
        """Of every class; see CLASSES."""
        self._steps = dict(steps)

    @classmethod
    def of(cls, rates: TokenRates) -> FixedRates:
        """What is known now."""
        return cls({name: math.ceil(_STEPS * math.log2(rates.rate(name))) for name in CLASSES})

    @classmethod
    def read(cls, text: str) -> FixedRates | None:
        """What `as_text` wrote; None for what is no such thing, and of another version."""
        try:
            steps = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(steps, dict) or steps.keys() != CLASSES:
            return None
        if not all(type(step) is int and _LEAST_STEP <= step <= 0 for step in steps.values()):
            return None
        return cls(steps)

    def as_text(self) -> str:
        """In numbers, for a later run."""
        return json.dumps(self._steps, sort_keys=True, separators=(",", ":"))

    def at_least(self, text: str, tokens: int) -> FixedRates:
        """The same, raised alike where a text has more tokens than they say, to 1 at most."""
        rates = self
        while rates.likely_tokens(text) < tokens and any(rates._steps.values()):
            rates = FixedRates({name: min(0, step + 1) for name, step in rates._steps.items()})
        return rates

    def likely_tokens(self, text: str) -> int:
        """About as many tokens as the text has, rather too many."""
        sizes = bytes_by_class(text)
        rounded = sum(size * 2 ** (self._steps[name] / _STEPS) for name, size in sizes.items())
        return min(int(_LIKELY * rounded), sum(sizes.values())) + _BORDER
