"""Cached answers a second from one process, with `wrk` beside it, in turn with a bare route.

The bare route is FastAPI that checks a body and returns an answer of the same size, on the same
uvicorn, uvloop and httptools (bare.py): what a service without any work would reach here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.http.site import Caller, site
from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.python_process import PythonProcess

LEAST_A_SECOND = 1500
CONNECTIONS = 32
SCRIPT = Path(__file__).parent / "post.lua"
FIELDS = ("requests", "microseconds", "bad", "p50", "p95", "p99")


class BareProcess(PythonProcess):
    """bare.py on a free port."""

    roots = (*PythonProcess.roots, Path(__file__).parents[2])
    name = "bare"

    def __init__(self) -> None:
        super().__init__({})
        self.port = free_port()

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "benchmarks.http.bare", str(self.port)]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        return answers_http(self.port, "/health/live")


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Load both in turn; return the bound and what wrk has counted."""
    if shutil.which("wrk") is None:
        print("  left out: wrk is missing (apt-get install wrk)")
        return [], {}
    rounds, seconds = (1, 2) if short else (5, 8)
    raw: dict[str, list[dict[str, int]]] = {"ours": [], "bare": []}
    with site() as running, BareProcess() as bare:
        running.engine.call("pace", tokens=20, pause_seconds=0.0)
        body = {"prompt": "What is Python?", "max_tokens": 500, "temperature": 0}
        caller = Caller(running.http.port)
        answer = caller.post("/generate", body)
        assert caller.post("/generate", body)["origin"] == "cached", answer["origin"]
        caller.close()
        for _ in range(rounds):
            raw["ours"].append(load(running.http.port, seconds))
            raw["bare"].append(load(bare.port, seconds))
    return judge(raw), raw


def load(port: int, seconds: int) -> dict[str, int]:
    """Let wrk ask for so long."""
    url = f"http://127.0.0.1:{port}/generate"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (one for one in done.stdout.splitlines() if one.startswith("wrk: "))
    return dict(zip(FIELDS, map(int, line.split()[1:]), strict=True))


def judge(raw: dict[str, list[dict[str, int]]]) -> list[Measure]:
    """Answers a second of both, and their ratio."""
    rates = {
        side: median(one["requests"] / one["microseconds"] * 1e6 for one in found)
        for side, found in raw.items()
    }
    for side, found in raw.items():
        late = {name: median(one[name] for one in found) / 1000 for name in ("p50", "p95", "p99")}
        shown = "  ".join(f"{name} {value:7.2f}" for name, value in late.items())
        print(f"  {side:38} {rates[side]:8.0f}/s  {shown} ms at {CONNECTIONS} connections")
    bad = sum(one["bad"] for one in raw["ours"])
    return [
        Measure("cached answers a second", rates["ours"], unit="/s"),
        Measure(f"  {LEAST_A_SECOND} a second to that", LEAST_A_SECOND / rates["ours"], 1.0),
        Measure("replies that were no answer", bad, 0),
        Measure("a bare FastAPI route to ours", rates["bare"] / rates["ours"], unit="times"),
    ]
