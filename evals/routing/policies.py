"""Who should answer, on labels: accuracy at the same cost, of several ways to choose.

Asks no model. What a query costs at the paid one is counted as the simulated paid model does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evals.frame.bootstrap import Interval
from evals.routing.log import Query

Numbers = NDArray[np.float64]

#: Parts of what it would cost to send everything.
COSTS = (0.1, 0.2, 0.3, 0.5, 0.7)
DRAWS = 5000
SEED = 12
_TAIL = 2.5


@dataclass(frozen=True, slots=True)
class Beside:
    """One way to choose, at one part of the whole cost.

    `accuracy` is the mean of what the chosen models got right; `to_length` and `to_random` are the
    differences to sending the longest ones, and to sending as much by chance.
    """

    cost: float
    sent: float
    accuracy: float
    to_length: Interval
    to_random: Interval


@dataclass(frozen=True)
class Labelled:
    """Queries with labels, as numbers: what each model gets right, and what the paid one costs."""

    local: Numbers
    remote: Numbers
    usd: Numbers

    @classmethod
    def of(cls, queries: Sequence[Query], usd: Sequence[float]) -> Labelled:
        """All must be labelled."""
        local, remote = zip(*((one.local_right, one.remote_right) for one in queries), strict=True)
        return cls(
            np.array(local, np.float64), np.array(remote, np.float64), np.array(usd, np.float64)
        )

    def chosen(self, scores: Numbers, cost: float) -> NDArray[np.bool_]:
        """Who is sent: by score, the highest first, as long as the money lasts.

        Of equal scores the order is by chance, the same in every run.
        """
        chance = np.random.default_rng(SEED).permutation(len(scores))
        order = np.lexsort((chance, -scores))
        paid = np.cumsum(self.usd[order])
        sent = np.zeros(len(scores), bool)
        sent[order] = paid <= cost * self.usd.sum() * (1 + 1e-12)
        return sent

    def right(self, sent: NDArray[np.bool_]) -> Numbers:
        """How right the chosen model is, query by query."""
        found: Numbers = np.where(sent, self.remote, self.local)
        return found

    def by_chance(self, cost: float) -> Numbers:
        """How right one is on the average who sends this part of all queries by chance."""
        found: Numbers = (1 - cost) * self.local + cost * self.remote
        return found


def beside(labelled: Labelled, scores: Numbers, lengths: Numbers, cost: float) -> Beside:
    """One way to choose, beside length alone and chance at the same cost."""
    sent = labelled.chosen(scores, cost)
    ours = labelled.right(sent)
    length = labelled.right(labelled.chosen(lengths, cost))
    return Beside(
        cost,
        float(sent.mean()),
        float(ours.mean()),
        difference(ours, length),
        difference(ours, labelled.by_chance(cost)),
    )


def difference(first: Numbers, second: Numbers) -> Interval:
    """The mean of the first less that of the second, with its 95 % interval by paired bootstrap.

    Queries are drawn with what both made of them; equal pairs are drawn together, as counts.
    """
    values, counts = np.unique(first - second, return_counts=True)
    number = len(first)
    draws = np.random.default_rng(SEED).multinomial(number, counts / number, DRAWS) @ values
    low, high = np.percentile(draws / number, [_TAIL, 100 - _TAIL])
    return Interval(float((first - second).mean()), float(low), float(high))


def ways(queries: Sequence[Query], scores: Mapping[str, Sequence[float]]) -> dict[str, Numbers]:
    """All ways to choose by name, length alone last."""
    found = {name: np.array(some, np.float64) for name, some in scores.items()}
    return found | {"length alone": np.array([float(len(one.prompt)) for one in queries])}
