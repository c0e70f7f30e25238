"""How well scores tell complex from simple: AUC with a 95 % bootstrap interval, side by side."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from local_llm_service.producers.route_fit.fitting import Indices, Numbers, Table
from local_llm_service.tasks.routing.router_file import Estimate, Judged

DRAWS = 2000
#: Of the draws in percent, so many lie outside on each side.
_TAIL = 2.5


class Ranked:
    """Scores in order, whose AUC is asked for again and again, with other weights of the rows."""

    def __init__(self, scores: Numbers, is_complex: NDArray[np.bool_]) -> None:
        _, self._places = np.unique(scores, return_inverse=True)
        self._is_complex = is_complex

    def auc(self, weights: Numbers) -> float:
        """How often a complex prompt has the higher score than a simple one; a tie is half.

        nan where one of the two has no weight.
        """
        complex_ones = np.bincount(self._places, weights * self._is_complex)
        simple = np.bincount(self._places, weights * ~self._is_complex)
        below = np.cumsum(simple) - simple
        pairs = complex_ones.sum() * simple.sum()
        right = float(complex_ones @ (below + simple / 2))
        return right / float(pairs) if pairs else float("nan")


def longer_is_complex(table: Table) -> Numbers:
    """The baseline's scores: the length, or less of it where the short ones are complex."""
    auc = Ranked(table.lengths, table.is_complex).auc(np.ones(len(table.lengths)))
    return table.lengths if auc >= 0.5 else -table.lengths


def judge(table: Table, scores: Numbers, folds: int, seed: int) -> Judged:
    """Compare scores of unseen prompts with length alone, on the same draws of groups.

    Near duplicates are drawn together, since they say the same thing twice.
    """
    ours, length = (Ranked(some, table.is_complex) for some in (scores, longer_is_complex(table)))
    ones = np.ones(len(scores))
    drawn = np.array([(ours.auc(one), length.auc(one)) for one in _draws(table.groups, seed)])
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    first, second = ours.auc(ones), length.auc(ones)
    return Judged(
        labels=len(scores),
        complex=int(table.is_complex.sum()),
        folds=folds,
        seed=seed,
        auc=_estimate(first, drawn[:, 0]),
        length_auc=_estimate(second, drawn[:, 1]),
        difference=_estimate(first - second, drawn[:, 0] - drawn[:, 1]),
    )


def found_of(scores: Numbers, table: Table, sent: float) -> tuple[float, float]:
    """What the highest-scored part `sent` of the prompts (0 to 1) holds of the complex ones.

    The lowest score in it, and the part of the complex prompts, where of equal scores as many are
    taken as chance would.
    """
    bound = float(np.quantile(scores, 1 - sent))
    above, at = scores > bound, scores == bound
    missing = sent * len(scores) - above.sum()
    share = min(1.0, max(0.0, missing / max(int(at.sum()), 1)))
    found = (table.is_complex & above).sum() + share * (table.is_complex & at).sum()
    return bound, float(found / table.is_complex.sum())


def _draws(groups: Indices, seed: int) -> Iterator[Numbers]:
    """How often each row is drawn, DRAWS times."""
    rng, number = np.random.default_rng(seed), int(groups.max()) + 1
    for _ in range(DRAWS):
        drawn = np.bincount(rng.integers(0, number, number), minlength=number)
        yield drawn[groups].astype(np.float64)


def _estimate(value: float, draws: Numbers) -> Estimate:
    low, high = np.percentile(draws, [_TAIL, 100 - _TAIL])
    return Estimate(value=value, low=float(low), high=float(high))
