"""One table for people; raw lines and a summary for checking the numbers again."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.chaos.site import Site

RESULTS = Path(__file__).parents[1] / "results"


@dataclass
class Outcome:
    """The findings of one case."""

    case: str
    measures: list[Measure]
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every bound holds."""
        return all(one.kept for one in self.measures)


def write_raw(case: str, site: Site, extra: Iterable[dict[str, Any]] = ()) -> None:
    """Write all observations, one JSON object per line, with times in seconds from the start."""
    start = site.began
    lines: list[dict[str, Any]] = [
        {
            "event": "submitted",
            "at": one.began,
            "returned_at": one.returned,
            "job": one.ask.job,
            "seconds": one.ask.seconds,
            "error": one.error,
        }
        for one in list(site.submitter.all)
    ]
    for run in site.generations():
        lines.append(
            {
                "event": "generation",
                "at": run.began,
                "ended_at": run.ended,
                "job": run.job,
                "engine": run.engine,
                "finished": run.finished,
            }
        )
    for history in list(site.recorder.stored.values()):
        lines += [{"event": "stored", **asdict(one)} for one in history]
    lines += [{"event": "death", **asdict(one)} for one in site.supervisor.deaths]
    lines += list(extra)
    for line in lines:
        line.update(
            {
                key: round(value - start, 4)
                for key, value in line.items()
                if key in {"at", "returned_at", "ended_at"} and value is not None
            }
        )
    lines.sort(key=lambda line: line["at"])
    RESULTS.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (RESULTS / f"chaos-{case}.jsonl").write_text(text)


def print_table(outcomes: list[Outcome]) -> None:
    """Print the numbers of all cases, each with its bound and whether the bound holds."""
    print(f"\n{'case':12} {'what':52} {'measured':>10} {'bound':>8}")
    for outcome in outcomes:
        for one in outcome.measures:
            bound = "" if one.limit is None else f"<= {one.limit:g}"
            mark = "" if one.limit is None else "ok" if one.kept else "BROKEN"
            value = f"{one.value:.4g} {one.unit}".strip()
            line = f"{outcome.case:12} {one.name:52} {value:>10} {bound:>8} {mark:6} {one.note}"
            print(line.rstrip())
    print()


def write_summary(outcomes: list[Outcome], *, short: bool) -> None:
    """Write the newest outcome of each case to benchmarks/results/chaos.json."""
    path = RESULTS / "chaos.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for outcome in outcomes:
        summary[outcome.case] = {
            "kept": outcome.kept,
            "short": short,
            "seconds": round(outcome.seconds, 1),
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "measures": [
                {**asdict(one), "value": _plain(one.value), "kept": one.kept}
                for one in outcome.measures
            ],
            **outcome.details,
        }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(summary, indent=1) + "\n")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
