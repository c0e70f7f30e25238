"""Percentiles, and the median of a few ratios with a distribution-free interval."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.chaos.judge import percentile

__all__ = ["Interval", "machine", "median_interval", "percentile", "row"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median; `low` and `high` are two of the values, `confidence` belongs to that interval."""

    median: float
    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval:
    """The innermost order statistics that enclose the median with a confidence of 95 % or more.

    The interval is binomial: exact for any distribution when the values are independent. Fewer than
    6 values give the smallest and the largest, with the confidence of that interval.
    """
    ordered = sorted(values)
    count, place = len(ordered), 0
    while place + 1 < count / 2 and _confidence(count, place + 1) >= CONFIDENCE:
        place += 1
    return Interval(
        statistics.median(ordered),
        ordered[place],
        ordered[count - 1 - place],
        _confidence(count, place),
    )


def _confidence(count: int, place: int) -> float:
    """The probability that the median lies between the values at `place` from either end."""
    return 1 - 2 * sum(math.comb(count, k) for k in range(place + 1)) / 2**count


def machine() -> str:
    """Describe the machine that ran the benchmark."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load before {load}"
    )


def row(name: str, seconds: Sequence[float]) -> str:
    """Format one line of percentiles, in milliseconds."""
    cells = "  ".join(
        f"p{percent:g} {percentile(seconds, percent) * 1000:8.3f}" for percent in (50, 90, 99)
    )
    return f"  {name:38} {cells} ms   n={len(seconds)}"
