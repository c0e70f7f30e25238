"""The tables of one set, in Markdown, made of its raw records and of nothing else."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evals.frame.bootstrap import Comparison, Interval, compare, rate
from evals.frame.eval_set import OURS, EvalSet, Item, Measure, Score
from evals.frame.records import Record

Rows = Iterable[Sequence[str]]


@dataclass(frozen=True)
class Results:
    """The records of one set, by item and side; only chosen items count."""

    one: EvalSet
    items: Sequence[Item]
    by_place: dict[tuple[str, str, str], Record]

    @classmethod
    def of(cls, one: EvalSet, items: Sequence[Item], records: Iterable[Record]) -> Results:
        """Order the records of a set."""
        return cls(one, items, {record.place: record for record in records})

    @property
    def groups(self) -> list[str]:
        """The groups of the set in the order in which their items come."""
        return list(dict.fromkeys(item.group for item in self.items))

    def of_side(self, side: str, group: str | None = None) -> list[Record]:
        """The records of one side, of all groups or of one."""
        wanted = (item for item in self.items if group is None or item.group == group)
        places = ((item.key, item.group, side) for item in wanted)
        return [self.by_place[place] for place in places if place in self.by_place]

    def scores(self, measure: Measure, side: str, group: str) -> dict[str, Score]:
        """One side's scores by key; a failure has no points."""
        found = {}
        for item in self.items:
            record = self.by_place.get((item.key, item.group, side))
            if item.group == group and record is not None:
                missing = Score(0.0, item.possible.get(measure.name, 1.0))
                found[item.key] = record.outcome.scores.get(measure.name, missing)
        return found

    def compared(self, measure: Measure, baseline: str, group: str) -> Comparison | None:
        """This service beside a baseline, on the items that both answered; None without one."""
        ours = self.scores(measure, OURS, group)
        theirs = self.scores(measure, baseline, group)
        pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
        return compare(pairs) if pairs else None


def set_tables(results: Results) -> str:
    """What a set is, its scores side by side, and what they cost."""
    one = results.one
    meanings = [f"- **{measure.name}**: {measure.about}" for measure in one.measures]
    return "\n".join(
        [
            f"## {one.name}",
            "",
            f"{one.about}",
            f"Data: {one.source}; licence: {one.licence}.",
            "",
            *meanings,
            "",
            _score_table(results),
            "",
            _cost_table(results),
            "",
        ]
    )


def _score_table(results: Results) -> str:
    baselines = list(results.one.baselines)
    head = ["", "items", OURS]
    for name in baselines:
        head += [name, "difference (95 %)", "ratio (95 %)"]
    rows = []
    for group in results.groups:
        for measure in results.one.measures:
            ours = results.scores(measure, OURS, group)
            if not ours:
                continue
            label = ", ".join(filter(None, [group, measure.name]))
            row = [label, str(len(ours)), number(rate(list(ours.values())), measure.unit)]
            for name in baselines:
                row += _beside(measure, results.compared(measure, name, group))
            rows.append(row)
    return markdown(head, rows)


def _beside(measure: Measure, found: Comparison | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [
        number(found.second, measure.unit),
        _spread(found.difference, measure.unit, signed=True),
        "" if found.ratio is None else _spread(found.ratio, "times"),
    ]


def _cost_table(results: Results) -> str:
    head = [
        "",
        "items",
        "failures by code",
        "tokens read",
        "tokens written",
        "seconds",
        "p50",
        "p95",
    ]
    rows = []
    for side in results.one.sides:
        records = results.of_side(side)
        if not records:
            continue
        spent = [record.outcome.spent for record in records]
        failures = Counter(record.outcome.failure for record in records if record.outcome.failure)
        seconds = [one.seconds for one in spent]
        rows.append(
            [
                side,
                str(len(records)),
                ", ".join(f"{code} {times}" for code, times in sorted(failures.items())) or "none",
                f"{statistics.mean(one.prompt_tokens for one in spent):.0f}",
                f"{statistics.mean(one.completion_tokens for one in spent):.0f}",
                f"{statistics.mean(seconds):.2f}",
                f"{percentile(seconds, 50):.2f}",
                f"{percentile(seconds, 95):.2f}",
            ]
        )
    return "Tokens and seconds are means for one item, of all its steps.\n\n" + markdown(head, rows)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def number(value: float, unit: str) -> str:
    """A rate in its unit."""
    if value != value:
        return "none possible"
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.3g} {unit}".strip()


def _spread(interval: Interval, unit: str, signed: bool = False) -> str:
    scale, digits = (100.0, ".1f") if unit == "%" else (1.0, ".2f")
    sign = "+" if signed else ""
    low, high = (f"{scale * one:{sign}{digits}}" for one in (interval.low, interval.high))
    return f"{scale * interval.value:{sign}{digits}} [{low}, {high}]"


def markdown(head: Sequence[str], rows: Rows) -> str:
    """A table; numbers stand to the right."""
    lines = [head, ["---", *["---:" for _ in head[1:]]], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
