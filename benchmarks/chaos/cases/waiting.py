"""Redis restarts under 50 waiting callers: each gets its answer, and no error on the way.

Redis is killed and is away for 0.3 s and for 2 s, several times while the same callers wait. Then
every result is stored. What is judged: how each wait ends, and how long after its result was
stored. It also makes every public call while Redis is refused, silent, and killed during the call.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from benchmarks.chaos.judge import Measure
from benchmarks.chaos.report import RESULTS, Outcome
from benchmarks.chaos.site import REDIS_OPTIONS
from local_llm_service.worker.embedded.processes.python_process import IMPORT_ROOT
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

CALLERS = 50
AWAY_SECONDS = (0.3, 2.0)
#: A call is to end within this time, seconds.
CALL_LIMIT_SECONDS = 5.0


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes."""
    measures, raw = [], []
    for away in AWAY_SECONDS:
        found = _waits(redis_port, away, restarts=2 if short else 6)
        raw += [{"event": "wait", "away_seconds": away, **one} for one in found]
        failed = [one for one in found if one["ending"] != "answer"]
        late = sorted(one["seconds"] for one in found)
        name = f"away {away:g} s x {2 if short else 6}"
        measures += [
            Measure(f"{name}: waits that ended in an error", len(failed), 0),
            Measure(f"{name}: stored to returned, median", statistics.median(late), None, "s"),
            Measure(f"{name}: stored to returned, most", late[-1], 5, "s"),
        ]
    for how in ("refused", "silent", "killed"):
        calls = _every_call(how)
        raw += [{"event": "call", "redis": how, "call": n, "ending": c} for n, c in calls.items()]
        longest = max(float("inf") if one is None else one for _, one in calls.values())
        measures.append(
            Measure(f"{how}: longest of {len(calls)} calls", longest, CALL_LIMIT_SECONDS, "s")
        )
    text = "".join(json.dumps(line) + "\n" for line in raw)
    (RESULTS / "chaos-waiting.jsonl").write_text(text)
    return Outcome("waiting", measures)


def _waits(redis_port: int, away: float, restarts: int) -> list[dict[str, Any]]:
    """How each wait ended and how long after its result was stored, seconds."""
    from local_llm_service.worker.app import app

    ids = [uuid4().hex for _ in range(CALLERS)]
    stored_at: dict[str, float] = {}

    def wait(task_id: str) -> dict[str, Any]:
        try:
            app.AsyncResult(task_id).get(timeout=120)
            ending = "answer"
        except Exception as error:  # noqa: BLE001  # it is what is measured
            ending = type(error).__name__
        seconds = time.monotonic() - stored_at.get(task_id, time.monotonic())
        return {"ending": ending, "seconds": round(seconds, 4)}

    with (
        RedisProcess(port=redis_port, appendonly=True, extra=REDIS_OPTIONS) as server,
        ThreadPoolExecutor(CALLERS) as threads,
    ):
        waits = [threads.submit(wait, one) for one in ids]
        for _ in range(restarts):
            time.sleep(1)
            server.kill()
            time.sleep(away)
            server.start()
        for one in ids:
            answer = {"task_id": one, "origin": "computed", "timings": {}, "text": "a"}
            app.backend._store_result(one, answer, "SUCCESS")
            stored_at[one] = time.monotonic()
        return [one.result() for one in waits]


def _every_call(how: str) -> dict[str, tuple[str, float | None]]:
    """Each public call with its ending and its seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.every_call", how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(IMPORT_ROOT), os.getcwd()])},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    calls: dict[str, tuple[str, float | None]] = json.loads(done.stdout)["calls"]
    return calls
