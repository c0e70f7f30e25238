"""An empty job, of an engine that needs no time, on three workers in turn.

"with" is this checkout; "without" the same with the steps taken out of the worker; "before" the
version before there were any. Each has a prefix of its own on one Redis, one slot, and a producer
of this checkout. In each round each works off a batch; who begins alternates.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import median_interval, percentile, row
from benchmarks.dedupe.site import MODEL
from benchmarks.streaming.cost import cpu_seconds
from local_llm_service.tasks.kept_steps import KeptSteps
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Completion, Prompt
from local_llm_service.worker.runtime import WorkerRuntime

ROOT = Path(__file__).parents[2]
#: The last commit of which a kind was one prompt and one reading.
BEFORE = "c3d92fd"
SIDES = ("with", "without", "before")
MOST_RATIO = 1.03
JOBS, ROUNDS = 10, 200


class _Worker(WorkerProcess):
    """A worker of one side; that of "before" runs what is checked out in `folder`."""

    roots = (ROOT / "src", ROOT)

    def __init__(self, side: str, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(environment)
        self._side = side
        if side == "before":
            self.roots = (folder / "src", folder)

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        name = "benchmarks.steps.without" if self._side == "without" else "local_llm_service.worker"
        return [sys.executable, "-m", name, *self.arguments()]


class _Site:
    """The running sides."""

    def __init__(self, exits: ExitStack, folder: Path) -> None:
        redis = exits.enter_context(RedisProcess())
        engine = exits.enter_context(Child("benchmarks.dedupe.engine", {}))
        engine.call("take", seconds=0.0)
        self.engine = engine
        self.workers: dict[str, WorkerProcess] = {}
        self.producers: dict[str, Child] = {}
        self._asked = 0
        for side in SIDES:
            environment = {
                **{"REDIS_URL": redis.url, "OLLAMA_HOST": engine.call("host"), "CONCURRENCY": "1"},
                **{"MODEL_NAME": MODEL, "KEY_PREFIX": f"{{{side}}}:"},
            }
            self.workers[side] = exits.enter_context(_Worker(side, folder, environment))
            self.producers[side] = exits.enter_context(
                Child("benchmarks.dedupe.producer", environment, "ours")
            )

    def batch(self, side: str) -> dict[str, float]:
        """Wall time of new questions, and the worker's CPU time, for one job each."""
        prompts = [f"empty job {self._asked + number}" for number in range(JOBS)]
        self._asked += JOBS
        before = cpu_seconds(self.workers[side].pid)
        found = self.producers[side].call("batch", prompts=prompts)
        assert found["origins"] == {"computed": JOBS}, found["origins"]
        spent = cpu_seconds(self.workers[side].pid) - before
        self.engine.call("generations")  # forget what it has seen
        return {"seconds": (found["ended"] - found["began"]) / JOBS, "cpu": spent / JOBS}


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run the rounds; return the bounds and the raw seconds."""
    with ExitStack() as exits:
        site = _Site(exits, exits.enter_context(_checked_out(BEFORE)))
        for side in SIDES:
            site.batch(side)  # the first calls of each process
        rounds = [_round(site, number) for number in range(20 if short else ROUNDS)]
    empty_job = percentile([one["without"]["seconds"] for one in rounds], 50)
    share = _seconds_between_steps() / empty_job * 100
    measures = [Measure("what a worker does beside, in percent of its time", share, 3.0, "%")]
    for side in SIDES:
        print(row(f"an empty job, {side}", [one[side]["seconds"] for one in rounds]))
    for other in SIDES[1:]:
        measures += _compared(rounds, other)
    return measures, {"jobs": JOBS, "before": BEFORE, "rounds": rounds}


def _seconds_between_steps() -> float:
    """What KeptSteps does for one step, by itself: the median of many."""
    delivery = SimpleNamespace(kept_steps=0, task_id="t")
    request, in_flight = SimpleNamespace(cache_scope=None), SimpleNamespace(delivery=delivery)
    prompt = Prompt(({"role": "user", "content": "empty job"},), 10)
    completion = Completion("", "", "stop", 0, 0, 0.0, 0.0, 0.0)

    def once() -> float:
        began = perf_counter()
        kept = KeptSteps(
            cast(JobRequest, request),
            cast(WorkerRuntime, None),
            cast(InFlightDelivery, in_flight),
            model=MODEL,
            revision="1",
            leads="",
        )
        kept.begin(prompt, shared=False)
        kept.done(completion)
        return perf_counter() - began

    return percentile([once() for _ in range(10_000)], 50)


def _round(site: _Site, number: int) -> dict[str, dict[str, float]]:
    turn = number % len(SIDES)
    return {side: site.batch(side) for side in (*SIDES[turn:], *SIDES[:turn])}


def _compared(rounds: list[dict[str, dict[str, float]]], other: str) -> list[Measure]:
    """The median of the rounds' ratios is bounded; its interval and percentiles are beside it."""
    measures = []
    for what, name in (("seconds", "time"), ("cpu", "worker's CPU")):
        ratios = [one["with"][what] / one[other][what] for one in rounds]
        found = median_interval(ratios)
        spread = ", ".join(f"p{p} {percentile(ratios, p):.3f}" for p in (10, 90, 99))
        note = f"{found.low:.4f} to {found.high:.4f} ({found.confidence:.0%}); {spread}"
        # What has come since that commit beside the steps is not theirs.
        most = None if other == "before" else MOST_RATIO
        measures.append(
            Measure(f"with / {other}, {name} of an empty job", found.median, most, note=note)
        )
    return measures


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """Another version's files, until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="local-llm-before-") as name:
        folder = Path(name) / "checkout"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, stderr=-3)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=False)
