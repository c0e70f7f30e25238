"""`python -m benchmarks.compare CHECKOUT [--python FILE] [--short]` compares this code with older.

Both checkouts run a whole site at the same time and work in turn, so the machine is the same for
both. The program prints ratios of this checkout to the other with intervals, and keeps the raw
numbers in benchmarks/results/compare.json. The exit code is 1 when a ratio is above its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.dedupe.numbers import machine, median_interval

ROOT = Path(__file__).parents[2]
RAW = ROOT / "benchmarks" / "results" / "compare.json"
SIDE_FILE = Path(__file__).with_name("side.py")
#: The largest ratio of this checkout's times to the other's that is allowed.
MOST_RATIO = 1.03
IMPORTS = ("from local_llm_service import summarize", "from tasks import summarize")
TIMED = "import time; t = time.perf_counter(); {0}; print(time.perf_counter() - t)"


class Checkout:
    """One of the two checkouts: its folder, its interpreter and its side's process."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder.resolve(), python.absolute()
        paths = [self.folder / "src", self.folder]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path.is_dir()),
        }
        self._process = subprocess.Popen(
            [self.python, SIDE_FILE],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, **words: Any) -> Any:
        """Call a function of side.py."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, words]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the side in {self.folder.name} ended")
        return json.loads(line)

    def import_seconds(self) -> float:
        """Seconds that a fresh process needs to import a task as this checkout's README does."""
        has_package = (self.folder / "src" / "local_llm_service").is_dir()
        code = TIMED.format(IMPORTS[0] if has_package else IMPORTS[1])
        done = subprocess.run(
            [self.python, "-c", code],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    def commit(self) -> str:
        """Its commit; "+" after it where the files differ from that."""
        words = ("git", "-C", str(self.folder))
        commit = subprocess.check_output((*words, "rev-parse", "HEAD"), text=True).strip()
        return commit + ("+" if subprocess.check_output((*words, "status", "-s")) else "")

    def close(self) -> None:
        """End the side."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def main() -> int:
    """Run all parts, print their ratios and keep the raw record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("checkout", type=Path, help="the other checkout, installed in its own way")
    parser.add_argument("--python", type=Path, help="its interpreter (default .venv/bin/python)")
    parser.add_argument("--short", action="store_true", help="a quick run, too short to judge by")
    given = parser.parse_args()
    python = given.python or given.checkout / ".venv" / "bin" / "python"
    where = machine()
    print(f"{where}\n{' '.join(sys.orig_argv)}", flush=True)
    new, old = Checkout(ROOT, Path(sys.executable)), Checkout(given.checkout, python)
    began = time.monotonic()
    try:
        raw = measure(new, old, short=given.short)
    finally:
        new.close()
        old.close()
    # Commits instead of folders: a record tells nothing of the machine's paths.
    about = {"machine": where, "other": old.commit(), "this": new.commit(), "short": given.short}
    about |= {"ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    about |= {"seconds": round(time.monotonic() - began, 1)}
    RAW.write_text(json.dumps({**about, "pairs": raw}) + "\n")
    kept = [judge(name, pairs) for name, pairs in raw.items()]
    return 0 if all(kept) else 1


def measure(new: Checkout, old: Checkout, *, short: bool) -> dict[str, list[list[float]]]:
    """Pairs of numbers by measure, with this checkout's number first in each pair."""
    asked = [f"{uuid4().hex} why does a queue help?" for _ in range(50)]
    for side in (new, old):
        side.call("warm_up", prompts=asked)

    def hits(side: Checkout) -> float:
        return statistics.median(side.call("hits", prompts=asked, rounds=100)["hit"])

    def read(side: Checkout) -> float:
        return statistics.median(side.call("read", prompts=asked)["read"])

    def batch(side: Checkout) -> dict[str, Any]:
        count = 240 if short else 1000
        texts = [f"{uuid4().hex} why does a queue help?" for _ in range(count)]
        found: dict[str, Any] = side.call("batch", prompts=texts)
        return found

    raw = {
        "import": _pairs(new, old, 5 if short else 25, Checkout.import_seconds),
        "cache hit, p50 of 100": _pairs(new, old, 10 if short else 60, hits),
        "read by id, p50 of 50": _pairs(new, old, 10 if short else 60, read),
    }
    runs = _pairs(new, old, 2 if short else 9, batch)
    raw["1,000 jobs, wall time"] = [[one["wall_seconds"] for one in pair] for pair in runs]
    for who in ("workers", "producer", "redis"):
        cpu = [[one["cpu_ms_per_job"][who] for one in pair] for pair in runs]
        raw[f"1,000 jobs, CPU ms per job of {who}"] = cpu
    return raw


def _pairs(new: Checkout, old: Checkout, count: int, of: Callable[[Checkout], Any]) -> list[Any]:
    """Measure both checkouts in turn; the one that begins alternates."""
    found = []
    for number in range(count):
        if number % 2:
            other = of(old)
            found.append([of(new), other])
        else:
            found.append([of(new), of(old)])
    return found


def judge(name: str, pairs: Sequence[Sequence[float]]) -> bool:
    """Print the median ratio; return whether it keeps the bound. CPU times have no bound."""
    found = median_interval([ours / other for ours, other in pairs])
    ours, other = (statistics.median(values) for values in zip(*pairs, strict=True))
    kept = found.median <= MOST_RATIO or "CPU" in name
    print(
        f"  {name:42} {found.median:7.4f} [{found.low:.4f}, {found.high:.4f}] "
        f"({found.confidence:.1%}, {len(pairs)} pairs; medians {ours:.6g}, {other:.6g})"
        f"{'' if kept else '  MISSED'}",
        flush=True,
    )
    return kept


if __name__ == "__main__":
    sys.exit(main())
