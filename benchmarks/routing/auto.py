"""An empty job by `auto`, by a route with a remote model, and by the model's own name.

One worker with one slot, an Ollama that needs no time, and a paid server that nobody needs. `auto`
has no remote model here, as without a file of engines; the prompts of the route are simple, so that
it chooses the local model each time. In each round each side works off a batch, in an order that
rotates. The bound is on `auto`; what a choice costs is beside it.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import median_interval, percentile, row
from benchmarks.dedupe.site import MODEL
from benchmarks.streaming.cost import cpu_seconds
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.openai_server import OpenAiServer

REMOTE = "large"
#: Side → what its calls name as their model.
SIDES = {"auto": "auto", "route": "choosing", "named": MODEL}
MOST_RATIO = 1.03
JOBS, ROUNDS = 10, 200

Round = dict[str, dict[str, float]]


class _Site:
    """The running processes."""

    def __init__(self, exits: ExitStack) -> None:
        redis = exits.enter_context(RedisProcess())
        self.engine = exits.enter_context(Child("benchmarks.dedupe.engine", {}))
        self.engine.call("take", seconds=0.0)
        remote = exits.enter_context(OpenAiServer(models=(REMOTE,)))
        file = Path(exits.enter_context(TemporaryDirectory())) / "engines.json"
        host = self.engine.call("host")
        file.write_text(_engines_file(host, remote.url))
        environment = {
            **{"REDIS_URL": redis.url, "OLLAMA_HOST": host, "CONCURRENCY": "1"},
            **{"MODEL_NAME": MODEL, "ENGINES_FILE": str(file), "REMOTE_BUDGET_USD": "unlimited"},
        }
        self.worker = exits.enter_context(WorkerProcess(environment))
        self.producer = exits.enter_context(
            Child("benchmarks.dedupe.producer", environment, "ours")
        )
        self._asked = 0

    def batch(self, side: str) -> dict[str, float]:
        """Wall time of new questions, and the worker's CPU time, for one job each."""
        prompts = [f"empty job {self._asked + number}" for number in range(JOBS)]
        self._asked += JOBS
        before = cpu_seconds(self.worker.pid)
        found = self.producer.call("batch", prompts=prompts, model=SIDES[side])
        assert found["origins"] == {"computed": JOBS}, found["origins"]
        spent = cpu_seconds(self.worker.pid) - before
        asked = self._generations()
        assert asked == JOBS, f"{side}: the local model was asked {asked} times"
        return {"seconds": (found["ended"] - found["began"]) / JOBS, "cpu": spent / JOBS}

    def _generations(self) -> int:
        """Of this batch: an answer can be there before the engine has noted its end."""
        while True:
            found = self.engine.call("generations")
            if all(ended for _, ended, _ in found):
                return len(found)


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run the rounds; return the bounds and the raw seconds."""
    with ExitStack() as exits:
        site = _Site(exits)
        for side in SIDES:
            site.batch(side)  # the first calls of each process
        rounds = [_round(site, number) for number in range(20 if short else ROUNDS)]
    for side in SIDES:
        print(row(f"an empty job, {side}", [one[side]["seconds"] for one in rounds]))
    measures = _compared(rounds, "auto", MOST_RATIO) + _compared(rounds, "route", None)
    return measures, {"jobs": JOBS, "rounds": rounds}


def _round(site: _Site, number: int) -> Round:
    sides = list(SIDES)
    turn = number % len(sides)
    return {side: site.batch(side) for side in (*sides[turn:], *sides[:turn])}


def _compared(rounds: list[Round], side: str, limit: float | None) -> list[Measure]:
    """The median of the rounds' ratios; its interval and percentiles are beside it."""
    measures = []
    for what, name in (("seconds", "time"), ("cpu", "worker's CPU")):
        ratios = [one[side][what] / one["named"][what] for one in rounds]
        found = median_interval(ratios)
        spread = ", ".join(f"p{p} {percentile(ratios, p):.3f}" for p in (10, 90))
        note = f"{found.low:.4f} to {found.high:.4f} ({found.confidence:.0%}); {spread}"
        measures.append(
            Measure(f"{side} / named, {name} of an empty job", found.median, limit, note=note)
        )
    return measures


def _engines_file(host: str, remote_url: str) -> str:
    paid = {"name": REMOTE, "prompt_usd": 2.5, "completion_usd": 10}
    here = {"name": "here", "kind": "ollama", "url": host, "leaves_the_house": False}
    far = {"name": "far", "kind": "openai_compatible", "url": remote_url, "models": [paid]}
    route = {"name": SIDES["route"], "local": MODEL, "remote": REMOTE}
    return json.dumps({"engines": [here, {**far, "leaves_the_house": True}], "routes": [route]})
