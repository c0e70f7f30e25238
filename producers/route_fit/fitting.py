"""A logistic regression over hashed words and structure, and what it says of prompts unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from local_llm_service.producers.route_fit.labels import Label, group
from local_llm_service.tasks.routing.hashed_words import BUCKETS, buckets
from local_llm_service.tasks.routing.router_file import SEEN, seen
from local_llm_service.tasks.routing.structure import structure

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

#: A bucket that fewer distinct prompts fall into has no weight: a rare name leaves no trace.
LEAST_PROMPTS = 5
#: How much words may say, as scikit-learn's C; the same for everybody, so nothing is tuned on
#: the labels that judge.
_FREEDOM = 1.0


@dataclass(frozen=True)
class Table:
    """The labels as numbers, one row each. `groups`: the same for prompts that are nearly equal."""

    seen: Numbers
    bags: Any
    lengths: Numbers
    is_complex: NDArray[np.bool_]
    groups: Indices

    @classmethod
    def of(cls, labels: Sequence[Label]) -> Table:
        """Measure all prompts."""
        bags = [buckets(one.prompt) for one in labels]
        ends = np.cumsum([0, *map(len, bags)])
        columns = np.fromiter((one for bag in bags for one in bag), np.int64, ends[-1])
        values = np.repeat([1 / max(len(bag), 1) ** 0.5 for bag in bags], np.diff(ends))
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(group(one.prompt), len(numbers)) for one in labels]
        return cls(
            np.array([seen(structure(one.prompt)) for one in labels]),
            csr_matrix((values, columns, ends), shape=(len(labels), BUCKETS)),
            np.array([float(len(one.prompt)) for one in labels]),
            np.array([one.is_complex for one in labels]),
            np.array(groups),
        )


@dataclass(frozen=True)
class Weights:
    """What a fit has found; see RouterFile."""

    intercept: float
    means: Numbers
    scales: Numbers
    seen_weights: Numbers
    bucket_weights: Numbers

    def logits(self, table: Table, rows: Indices) -> Numbers:
        """The scores of some rows before they are squeezed between 0 and 1."""
        standard = (table.seen[rows] - self.means) / self.scales
        words = table.bags[rows] @ self.bucket_weights
        found: Numbers = self.intercept + standard @ self.seen_weights + words
        return found


def fit(table: Table, rows: Indices) -> Weights:
    """Fit on some rows."""
    means, scales = table.seen[rows].mean(axis=0), table.seen[rows].std(axis=0)
    scales[scales < 1e-9] = 1.0
    _, firsts = np.unique(table.groups[rows], return_index=True)
    prompts = np.bincount(table.bags[rows[firsts]].indices, minlength=BUCKETS)
    kept = np.flatnonzero(prompts >= LEAST_PROMPTS)
    standard = (table.seen[rows] - means) / scales
    columns = hstack([csr_matrix(standard), table.bags[rows][:, kept]]).tocsr()
    model = LogisticRegression(C=_FREEDOM, class_weight="balanced", max_iter=5000)
    model.fit(columns, table.is_complex[rows])
    found, words = model.coef_[0], np.zeros(BUCKETS)
    words[kept] = found[SEEN:]
    return Weights(float(model.intercept_[0]), means, scales, found[:SEEN], words)


def unseen_logits(table: Table, folds: int, seed: int) -> Numbers:
    """Each row's score by a fit on other folds; near duplicates are always in one fold."""
    found = np.empty(len(table.is_complex))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for learned, judged in parts.split(table.seen, table.is_complex, table.groups):
        found[judged] = fit(table, learned).logits(table, judged)
    return found
