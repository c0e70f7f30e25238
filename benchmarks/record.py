"""Runs a benchmark's parts, prints their numbers with their bounds, and keeps the raw record.

A part is a module with `run(short=...)`, which returns its measures and its raw numbers.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.command import parse
from benchmarks.dedupe.numbers import machine

RESULTS = Path(__file__).parent / "results"


def run_parts(name: str, about: str | None, parts: Sequence[str], package: str) -> int:
    """Run the requested parts of `package`; the exit code is 1 when a bound is missed.

    The raw record goes to results/<name>.json, beside the newest records of the other parts.
    """
    given = parse(f"benchmarks.{name}", about, parts, "a quick run, too short to judge by")
    where = machine()
    print(f"{where}\n{' '.join(sys.orig_argv)}")
    kept = True
    for part in given.parts:
        print(f"\n{part}", flush=True)
        began = time.monotonic()
        measures, raw = importlib.import_module(f"{package}.{part}").run(short=given.short)
        print_measures(measures)
        kept = kept and all(one.kept for one in measures)
        found = {"machine": where, "command": ["python", *sys.orig_argv[1:]], "short": given.short}
        found |= {"ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        found |= {"seconds": round(time.monotonic() - began, 1)}
        found |= {"measures": [_plain(one) for one in measures], "raw": raw}
        keep(RESULTS / f"{name}.json", part, found)
    return 0 if kept else 1


def print_measures(measures: list[Measure]) -> None:
    """Print each number with its bound and whether the bound holds."""
    for one in measures:
        bound = "" if one.limit is None else f"<= {one.limit:g}"
        mark = "" if one.limit is None else "ok" if one.kept else "MISSED"
        value = f"{one.value:.4g} {one.unit}".strip()
        print(f"  {one.name:52} {value:>12} {bound:>9} {mark:6} {one.note}".rstrip())


def keep(file: Path, part: str, found: dict[str, Any]) -> None:
    """Write one part's record into the file, beside the newest records of the other parts."""
    record = json.loads(file.read_text()) if file.exists() else {}
    record[part] = found
    file.parent.mkdir(exist_ok=True)
    # One line per part: thousands of numbers, each on its own line, would be no easier to read.
    lines = [f"{json.dumps(name)}: {json.dumps(_rounded(one))}" for name, one in record.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _rounded(value: Any) -> Any:
    """Round floats to a microsecond and replace nan, which JSON lacks, with None."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _plain(one: Measure) -> dict[str, Any]:
    return {**asdict(one), "kept": one.kept}
