"""95 % intervals by the paired bootstrap: items are drawn again and again, with both sides' points.

The draws are the same in every run, so a table that is made again has the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evals.frame.eval_set import Score

DRAWS = 5000
SEED = 12
#: Of the draws, so many lie outside on each side.
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides on the same items: both rates, and the first less the second.

    `ratio` is the first by the second, None where the second has no points in more than 2.5 % of
    the draws: then nothing bounds it.
    """

    items: int
    first: float
    second: float
    difference: Interval
    ratio: Interval | None


def rate(scores: Sequence[Score]) -> float:
    """Points of those possible, over all items; nan if none were possible."""
    possible = sum(one.of for one in scores)
    return sum(one.points for one in scores) / possible if possible else float("nan")


def compare(pairs: Sequence[tuple[Score, Score]]) -> Comparison:
    """Compare two sides' scores of the same items. ValueError without an item."""
    if not pairs:
        raise ValueError("no item has both sides")
    first, second = rate([one for one, _ in pairs]), rate([other for _, other in pairs])
    draws = _draws(pairs)
    differences = [one - other for one, other in draws]
    ratios = [one / other if other else float("inf") for one, other in draws]
    difference = _interval(first - second, differences)
    ratio = _interval(first / second, ratios) if second else None
    bounded = ratio is not None and ratio.high != float("inf")
    return Comparison(len(pairs), first, second, difference, ratio if bounded else None)


def _draws(pairs: Sequence[tuple[Score, Score]]) -> list[tuple[float, float]]:
    """Both sides' rates in each draw of as many items as there are."""
    rows = [(one.points, one.of, other.points, other.of) for one, other in pairs]
    look_ups = [list(column).__getitem__ for column in zip(*rows, strict=True)]
    rng, places = random.Random(SEED), range(len(pairs))
    made = []
    for _ in range(DRAWS):
        drawn = rng.choices(places, k=len(places))
        points, of, other, other_of = (sum(map(look_up, drawn)) for look_up in look_ups)
        made.append((points / of if of else 0.0, other / other_of if other_of else 0.0))
    return made


def _interval(value: float, draws: list[float]) -> Interval:
    ordered = sorted(draws)
    beyond = int(TAIL * len(ordered))
    return Interval(value, ordered[beyond], ordered[-1 - beyond])
