"""Memory of the batch process and of Redis, in each tenth of a long input; lines a second."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.batch.site import BatchSite
from benchmarks.chaos.judge import Measure
from local_llm_service.producers.batch.records import GROUP_LINES
from local_llm_service.worker.store.keys import Keys
from tests.doubles.ollama import Script

SAMPLE_SECONDS = 0.5
#: The memory of the last tenth may differ by so much from that of the second.
FLAT = 0.10
#: Keys of the service itself: presence, consensus, counters, tables.
OWN_KEYS = 40
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """One look; `lines` are those that the output has."""

    seconds: float
    lines: int
    rss_bytes: int
    redis_bytes: int
    redis_keys: int
    queued: int


def measure(lines: int) -> tuple[list[Measure], dict[str, Any]]:
    """Run so many lines on an engine that answers at once."""
    respond = lambda _: Script(chunks=("A short answer of a few words.",))  # noqa: E731
    with BatchSite(respond, workers=2, slots=4) as site:
        process = site.begin_batch(lines, lambda number: f"Say something about number {number}.")
        samples = list(_watch(site, process))
        code = process.returncode
    return _judge(samples, lines, site.window, code), {
        "samples": [list(vars(one).values()) for one in samples[:: max(1, len(samples) // 500)]],
        "columns": list(Sample.__dataclass_fields__),
    }


def _watch(site: BatchSite, process: subprocess.Popen[bytes]) -> Any:
    client, low = redis.Redis.from_url(site.redis.url), Keys().queue("llm.low")
    began, lines, place = time.monotonic(), 0, 0
    while process.poll() is None:
        time.sleep(SAMPLE_SECONDS)
        site.engine.seen.clear()
        if site.output.exists():
            with site.output.open("rb") as file:
                file.seek(place)
                new = file.read()
            lines, place = lines + new.count(b"\n"), place + len(new)
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            break
        info: Any = client.info("memory")
        yield Sample(
            round(time.monotonic() - began, 2),
            lines,
            pages * _PAGE_BYTES,
            int(info["used_memory"]),
            int(client.dbsize()),  # type: ignore[arg-type]
            int(client.llen(low)),  # type: ignore[arg-type]
        )
    process.wait(30)
    client.close()


def _judge(samples: list[Sample], lines: int, window: int, code: int) -> list[Measure]:
    tenths = [
        [one for one in samples if n * lines / 10 <= one.lines < (n + 1) * lines / 10]
        for n in range(10)
    ]
    rss = [statistics.mean(one.rss_bytes for one in tenth) for tenth in tenths]
    kept = [statistics.mean(one.redis_bytes for one in tenth) for tenth in tenths]
    worked = [one for one in samples if 0 < one.lines < lines]
    speed = (worked[-1].lines - worked[0].lines) / (worked[-1].seconds - worked[0].seconds)
    # A job that has ended is cleared once its group is in the ledger.
    most_keys = OWN_KEYS + 2 * (window + GROUP_LINES)
    change = abs(rss[-1] / rss[1] - 1)
    return [
        Measure("lines", lines),
        Measure("exit code", code, 0),
        Measure("lines a second", speed),
        Measure("batch process, mean of the second tenth", rss[1] / 1e6, None, "MB"),
        Measure("batch process, mean of the last tenth", rss[-1] / 1e6, None, "MB"),
        Measure("difference of the two", change, FLAT),
        Measure("batch process, most", max(one.rss_bytes for one in samples) / 1e6, None, "MB"),
        Measure("Redis, mean of the second tenth", kept[1] / 1e6, None, "MB"),
        Measure("Redis, mean of the last tenth", kept[-1] / 1e6, None, "MB"),
        Measure("keys in Redis, most", max(one.redis_keys for one in samples), most_keys),
        Measure("messages in the queue, most", max(one.queued for one in samples), window),
    ]
