"""A thousand open streams of one HTTP process, all of which are written to, and its memory.

The jobs are really queued. No worker runs: another process takes them all and writes their texts,
as in bench_clients.py. The readers are plain sockets in a process of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.chaos.judge import Measure
from benchmarks.dedupe.child import Child
from benchmarks.http.site import site

STREAMS = 1000
PIECES, BATCH, PAUSE_SECONDS = 20, 25, 0.020
MOST_MEGABYTES = 150.0


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run it; return the bounds and the raw numbers."""
    count = 100 if short else STREAMS
    with (
        site(worker=False) as running,
        Child("benchmarks.clients.reader", running.environment) as asker,
        Child("benchmarks.clients.writer", running.environment) as writer,
        Child("benchmarks.http.stream_reader", {}) as reader,
    ):
        ids = asker.call("submit", count=count)
        found: dict[str, Any] = {"streams": count, "before": memory(running.http.pid)}
        reader.call("open", port=running.http.port, ids=ids)
        found["open"] = memory(running.http.pid)
        reader.ask("read")
        wrote = writer.call("write", pieces=PIECES, batch=BATCH, pause_seconds=PAUSE_SECONDS)
        read = reader.answer()
        found["after"] = memory(running.http.pid)
    wrong = [task_id for task_id, text in wrote["texts"].items() if read.get(task_id) != text]
    most = max(found[when]["VmHWM"] for when in ("open", "after"))
    return [
        Measure("streams that lost or repeated a character", len(wrong), 0),
        Measure("memory before, MB", found["before"]["VmRSS"]),
        Measure(f"memory with {count} open, MB", found["open"]["VmRSS"]),
        Measure(f"most memory while {count} are written, MB", most, MOST_MEGABYTES),
    ], found


def memory(pid: int) -> dict[str, float]:
    """What is resident of a process now, and the most that ever was, in MB (proc(5))."""
    text = Path(f"/proc/{pid}/status").read_text()
    lines = re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(size) / 1024 for name, size in lines}
