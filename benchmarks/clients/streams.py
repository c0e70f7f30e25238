"""A thousand `async for event in job.stream()` at once in one process, and how soon each piece is
there.

The jobs are really queued. No worker runs: another process takes them all and writes their texts,
a piece of each in turn, by the scripts that a worker uses. It notes Redis's TIME before each batch
of pieces.
"""

from __future__ import annotations

from typing import Any

import redis

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.clients.awaits import connections, listening, subscribed, threads, url_of
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import row
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.conftest import wait_until

STREAMS = 1000
SEED = 10
PIECES = 20
#: Texts that get a piece in one round trip, and the pause after it: 1,250 pieces a second, as 1,000
#: models that write 25 tokens a second in groups of 20.
BATCH, PAUSE_SECONDS = 25, 0.020


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run it; return the bounds and the raw numbers."""
    streams = 100 if short else STREAMS
    with RedisProcess() as server:
        reading = {"REDIS_URL": url_of(server.url)}
        with (
            Child("benchmarks.clients.reader", reading) as reader,
            Child("benchmarks.clients.writer", {"REDIS_URL": server.url}) as writer,
            redis.Redis.from_url(server.url, decode_responses=True) as look,
        ):
            ids = reader.call("submit", count=streams)
            # A quarter of them join within the time that writing takes.
            late_seconds = PIECES * streams / BATCH * PAUSE_SECONDS
            reader.ask("read", ids=ids, seed=SEED, late_seconds=late_seconds)
            wait_until(lambda: subscribed(look) >= streams, "most are read", 60)
            found: dict[str, Any] = {
                "threads": threads(reader.pid),
                "connections": connections(look),
                "listening": listening(look),
            }
            wrote = writer.call("write", pieces=PIECES, batch=BATCH, pause_seconds=PAUSE_SECONDS)
            read = reader.answer()
    return judge(found, wrote, read)


def judge(
    found: dict[str, Any], wrote: dict[str, Any], read: dict[str, Any]
) -> tuple[list[Measure], dict[str, Any]]:
    """Compare what was written with what each reader put together."""
    wrong = [task_id for task_id, text in wrote["texts"].items() if read[task_id]["text"] != text]
    late = [
        seen_at - wrote["at"][task_id][characters]
        for task_id, one in read.items()
        for characters, seen_at in one["seen"]
        if characters in wrote["at"][task_id]
    ]
    print(row("from written to read", late))
    measures = [
        Measure("streams that lost or repeated a character", len(wrong), 0),
        Measure(
            "restarts, of which there is no reason",
            sum(one["restarts"] for one in read.values()),
            0,
        ),
        Measure("piece, from written to read, p95", percentile(late, 95) * 1000, unit="ms"),
        Measure("threads of the process", found["threads"], 1),
        Measure("connections that listen", found["listening"], 1),
        Measure("connections in all", found["connections"], 9),
    ]
    return measures, {**found, "streams": len(read), "pieces": PIECES, "late_seconds": late}
