"""Fits a router, judges it, and writes it if it is better than length alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from local_llm_service.producers.route_fit.fitting import Table, fit, unseen_logits
from local_llm_service.producers.route_fit.judging import found_of, judge, longer_is_complex
from local_llm_service.producers.route_fit.labels import Label
from local_llm_service.tasks.routing.router_file import RouterFile

#: Shares of all prompts, for which it is said how many complex ones are among them.
SHARES = (0.1, 0.2, 0.3, 0.5)
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Cut:
    """If the part `sent` of all prompts goes to the large model: from which score on, and how much
    of the complex ones goes with it, by the router and by length alone (0 to 1 each)."""

    sent: float
    complex_from: float
    found: float
    found_by_length: float


@dataclass(frozen=True, slots=True)
class FittedRouter:
    """A router with its judgement. `distinct`: prompts that are not nearly equal to another."""

    file: RouterFile
    distinct: int
    cuts: Sequence[Cut]


def fit_router(labels: Sequence[Label], folds: int, seed: int) -> FittedRouter:
    """Fit on all labels; judged is what fits on other folds say of each."""
    table = Table.of(labels)
    logits = unseen_logits(table, folds, seed)
    judged = judge(table, logits, folds, seed)
    weights = fit(table, np.arange(len(labels)))
    file = RouterFile(
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        judged=judged,
        complex_from=0.5,
        intercept=weights.intercept,
        means=_rounded(weights.means),
        scales=_rounded(weights.scales),
        seen_weights=_rounded(weights.seen_weights),
        bucket_weights=_rounded(weights.bucket_weights),
    )
    length, cuts = longer_is_complex(table), []
    for sent in SHARES:
        bound, found = found_of(logits, table, sent)
        score = float(1 / (1 + np.exp(-bound)))
        cuts.append(Cut(sent, score, found, found_of(length, table, sent)[1]))
    return FittedRouter(file, len(np.unique(table.groups)), cuts)


def write_router(router: RouterFile, path: Path) -> None:
    """Put a router into its place at once: a worker that starts meanwhile reads the old one whole.

    Raises OSError.
    """
    with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        try:
            file.write(router.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _rounded(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
