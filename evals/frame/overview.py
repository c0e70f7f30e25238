"""What a decision needs: quality by task, latency by kind, what a month would cost elsewhere.

The page of this project's first version carried these three tables without a way to check them.
Here each number comes from the raw records of this run's model.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.frame.eval_set import OURS, Measure
from evals.frame.tables import Results, markdown, number, percentile

#: The set whose groups are kinds.
BY_KIND = "latency"


@dataclass(frozen=True)
class Prices:
    """What a paid model costs, in USD for a million tokens, and how many calls a month has."""

    read: float
    written: float
    volumes: Mapping[str, float]


def overview(results: Sequence[Results], prices: Prices | None) -> str:
    """The three tables, as far as the sets that were run allow."""
    parts = ["# Overview", "", "## Quality by task", "", _quality(results), ""]
    timed = next((one for one in results if one.one.name == BY_KIND), None)
    if timed is None:
        return "\n".join([*parts, f"Latency and cost by kind: run the set {BY_KIND}, too.", ""])
    parts += ["## Latency by kind", "", _latency(timed), "", "## Cost of a month elsewhere", ""]
    if prices is None:
        parts += [
            "Say what you would pay and how much you ask: `--price-in USD --price-out USD "
            "--volume KIND=CALLS …`, in USD for a million tokens and calls a month.",
        ]
    else:
        parts += [
            "What a paid model would cost for these tokens: those of this service's calls in the "
            f"set {BY_KIND}, at {prices.read:g} USD for a million tokens read and "
            f"{prices.written:g} USD for a million written.",
            "",
            _cost(timed, prices),
        ]
    return "\n".join([*parts, ""])


def _quality(results: Sequence[Results]) -> str:
    """The headline of each set, beside the best of its baselines."""
    rows = []
    for one in results:
        measure = one.one.measures[0]
        for group in one.groups:
            found = [
                (name, compared)
                for name in one.one.baselines
                if (compared := one.compared(measure, name, group)) is not None
            ]
            if not found or one.one.name == BY_KIND:
                continue
            name, best = min(found, key=lambda pair: pair[1].second * _direction(measure))
            low, high = best.difference.low, best.difference.high
            verdict = "apart" if best.difference.excludes_zero else "not apart"
            rows.append(
                [
                    ", ".join(filter(None, [one.one.name, group, measure.name])),
                    str(best.items),
                    number(best.first, measure.unit),
                    f"{number(best.second, measure.unit)} ({name})",
                    f"{_bound(low, measure)} to {_bound(high, measure)}, {verdict}",
                ]
            )
    head = ["task", "items", OURS, "best naive way", "difference (95 %)"]
    return markdown(head, rows) if rows else "No set was run that compares."


def _direction(measure: Measure) -> int:
    return -1 if measure.better == "more" else 1


def _bound(value: float, measure: Measure) -> str:
    return f"{100 * value:+.1f}" if measure.unit == "%" else f"{value:+.2f}"


def _latency(timed: Results) -> str:
    rows = []
    for kind in sorted(timed.groups):
        row = [kind]
        for side in timed.one.sides:
            records = timed.of_side(side, kind)
            seconds = [one.outcome.spent.seconds for one in records if not one.outcome.failure]
            row += [str(len(seconds))]
            row += [f"{percentile(seconds, p):.2f} s" if seconds else "" for p in (50, 95)]
        rows.append(row)
    head = ["kind"]
    for side in timed.one.sides:
        head += [f"{side}: calls", "p50", "p95"]
    return markdown(head, rows)


def _cost(timed: Results, prices: Prices) -> str:
    rows, total = [], 0.0
    for kind, calls in sorted(prices.volumes.items()):
        spent = [one.outcome.spent for one in timed.of_side(OURS, kind)]
        if not spent:
            rows.append([kind, f"{calls:,.0f}", "", "", "not measured"])
            continue
        read = statistics.mean(one.prompt_tokens for one in spent)
        written = statistics.mean(one.completion_tokens for one in spent)
        usd = calls * (read * prices.read + written * prices.written) / 1e6
        total += usd
        rows.append([kind, f"{calls:,.0f}", f"{read:.0f}", f"{written:.0f}", f"{usd:,.2f} USD"])
    rows.append(["all", "", "", "", f"{total:,.2f} USD"])
    return markdown(["kind", "calls a month", "tokens read", "tokens written", "cost"], rows)
