"""50 hostile patterns and schema bombs in one worker of 4 slots, beside jobs of others.

They are sent by name, as by a caller without our client, so that nothing is checked before the
worker. A thread beside the lease heartbeat measures its pauses; an idle process measures what the
machine itself adds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.chaos import pauses
from benchmarks.chaos.judge import Measure
from benchmarks.chaos.report import RESULTS, Outcome
from benchmarks.chaos.workers import ChaosWorker, Supervisor
from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.errors import ServiceError
from tests.doubles.hostile_schemas import BOMBS, PATTERNS
from tests.doubles.ollama import FakeOllama, Script

DEADLINE_SECONDS = 60.0
NEIGHBOURS = 20
LONGEST_PAUSE_SECONDS = 0.1
CASES = [(pattern[:40], {"pattern": pattern}, text) for pattern, text in PATTERNS] + [
    (name, schema, instance) for name, (schema, instance) in BOMBS.items()
]


def run(*, redis_port: int, short: bool) -> Outcome:
    """Run the case that the module's docstring describes; `short`: once instead of five times."""
    directory = Path(tempfile.mkdtemp(prefix="local-llm-chaos-"))
    files = {"worker": directory / "pauses-worker", "idle": directory / "pauses-idle"}
    with ExitStack() as exits:
        exits.callback(shutil.rmtree, directory, ignore_errors=True)
        redis = exits.enter_context(RedisProcess(directory / "redis", port=redis_port))
        ollama = exits.enter_context(FakeOllama(_answer))
        worker = ChaosWorker(
            0,
            {
                "REDIS_URL": redis.url,
                "OLLAMA_HOST": ollama.host,
                "MODEL_NAME": "fake:1b",
                "CONCURRENCY": "4",
                "ENABLE_CACHE": "0",
                "CHAOS_PAUSES": str(files["worker"]),
            },
            directory / "worker-0",
        )
        supervisor = Supervisor([worker])
        exits.callback(supervisor.stop)
        supervisor.start(0)
        idle = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos.pauses", str(files["idle"])]
        )
        exits.callback(idle.wait)
        exits.callback(idle.kill)
        began = time.monotonic()
        ends = [end for _ in range(1 if short else 5) for end in _round()]
        time.sleep(2 * pauses.LINE_SECONDS)
        supervisor.tick()
        asked = [str(one.body["messages"][-1]["content"]) for one in ollama.seen]
        measured = {name: _since(file, began) for name, file in files.items()}
        outcome = _judge(ends, asked, measured, len(supervisor.deaths))
    _write_raw(began, ends, measured)
    return outcome


def _round() -> list[dict[str, Any]]:
    """Send every case once, with jobs of others between them; return how each ended."""
    began = time.monotonic()
    sent = []
    for number, (name, schema, _) in enumerate(CASES):
        sent.append((name, _send(f"case {number}", schema)))
        if number % (len(CASES) // NEIGHBOURS) == 0:
            sent.append(("neighbour", tasks.generate.delay("fine", cache=False)))
    return [{"case": name, **_end_of(job), "began": began} for name, job in sent]


def _send(prompt: str, schema: Any) -> Any:
    """As another application sends: on the bare list, unchecked."""
    from celery import Celery

    from local_llm_service.worker.app import app

    other = Celery("other", broker=app.conf.broker_url, set_as_current=False)
    call = {"prompt": prompt, "schema": schema, "deadline_seconds": DEADLINE_SECONDS}
    return app.AsyncResult(
        other.send_task("llm.structured_output", kwargs=call, queue="llm.high").id
    )


def _end_of(job: Any) -> dict[str, Any]:
    try:
        job.get(timeout=2 * DEADLINE_SECONDS)
        how = "succeeded"
    except ServiceError as error:
        how = error.code
    except Exception as error:  # noqa: BLE001  # a job without an end is what this looks for
        how = type(error).__name__
    return {"how": how, "at": time.monotonic()}


def _answer(body: dict[str, Any]) -> Script:
    words = str(body["messages"][-1]["content"]).split()
    if words[0] != "case":
        return Script(chunks=("fine",))
    return Script(chunks=(json.dumps(CASES[int(words[1])][2]),))


def _since(file: Path, began: float) -> list[tuple[float, float, float]]:
    return [line for line in pauses.read(file) if line[0] > began]


def _judge(
    ends: list[dict[str, Any]],
    asked: list[str],
    measured: dict[str, list[tuple[float, float, float]]],
    deaths: int,
) -> Outcome:
    late = [one for one in ends if one["at"] - one["began"] > DEADLINE_SECONDS]
    typed = ("succeeded", "invalid_request", "invalid_output")
    other = [one for one in ends if one["how"] not in typed]
    neighbours = [one for one in ends if one["case"] == "neighbour"]
    longest = {name: max(line[1] for line in lines) for name, lines in measured.items()}
    own = max(line[2] for line in measured["worker"])
    measures = [
        Measure("hostile jobs", len(ends) - len(neighbours)),
        Measure("that ended after their deadline", len(late), 0, note=str(late[:1] or "")),
        Measure("that ended with no verdict", len(other), 0, note=str(other[:1] or "")),
        Measure("longest pause that its own work caused", own, LONGEST_PAUSE_SECONDS, "s"),
        Measure("longest pause of a thread in the worker", longest["worker"], unit="s"),
        Measure("longest pause in an idle process meanwhile", longest["idle"], unit="s"),
        Measure("load of the machine", os.getloadavg()[0], note=f"{os.cpu_count()} cores"),
        Measure("neighbours", len(neighbours)),
        Measure("that failed", sum(one["how"] != "succeeded" for one in neighbours), 0),
        Measure("that ran more than once", asked.count("fine") - len(neighbours), 0),
        Measure("deaths of the worker", deaths, 0),
        Measure(
            "longest until all had their end", max(o["at"] - o["began"] for o in ends), unit="s"
        ),
    ]
    return Outcome("schemas", measures)


def _write_raw(
    began: float, ends: list[dict[str, Any]], measured: dict[str, list[tuple[float, float, float]]]
) -> None:
    lines = [
        {"event": "end", "at": one["at"] - began, "case": one["case"], "how": one["how"]}
        for one in ends
    ]
    for name, found in measured.items():
        lines += [
            {"event": f"pause {name}", "at": at - began, "seconds": seconds, "own_seconds": own}
            for at, seconds, own in found
        ]
    lines.sort(key=lambda line: line["at"])
    text = "".join(json.dumps({**line, "at": round(line["at"], 3)}) + "\n" for line in lines)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chaos-schemas.jsonl").write_text(text)
