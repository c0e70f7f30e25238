"""A thousand concurrent `await job.result()` in one process, and how soon each wakes up.

The jobs are really queued. No worker runs: another process stores their results one after the
other, and notes Redis's TIME before each. The wake-up is from then to the moment at which the
awaiting coroutine goes on, so it includes the storing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from benchmarks.chaos.judge import Measure, percentile
from benchmarks.dedupe.child import Child
from benchmarks.dedupe.numbers import row
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.conftest import wait_until

WAITS = 1000
ROUNDS = 5
#: Between two results: the scripted storer is no faster than a site of many workers.
PAUSE_SECONDS = 0.002
MOST_WAKE_UP_SECONDS = 0.020
#: The waiting process is a user of its own in Redis, so that its connections can be counted.
USER = "waiter"


def run(*, short: bool) -> tuple[list[Measure], dict[str, Any]]:
    """Run all rounds; return the bounds and the raw numbers."""
    rounds: list[dict[str, Any]] = []
    with RedisProcess() as server:
        waiting = {"REDIS_URL": url_of(server.url)}
        storing = {"REDIS_URL": server.url}
        with (
            Child("benchmarks.clients.waiter", waiting) as waiter,
            Child("benchmarks.clients.storer", storing) as storer,
            redis.Redis.from_url(server.url, decode_responses=True) as look,
        ):
            for number in range(1 if short else ROUNDS):
                rounds.append(one_round(waiter, storer, look, f"round {number}"))
                print(row(f"wake-up, round {number + 1}", rounds[-1]["wake_up_seconds"]))
    return judge(rounds), {"waits": WAITS, "pause_seconds": PAUSE_SECONDS, "rounds": rounds}


def one_round(waiter: Child, storer: Child, look: redis.Redis, label: str) -> dict[str, Any]:
    """Submit, wait for all at once, store all; returns what was seen."""
    ids = waiter.call("submit", label=label, count=WAITS)
    before = connections(look)
    waiter.ask("wait", ids=ids)
    wait_until(lambda: subscribed(look) >= WAITS, "all are waited for", 60)
    found: dict[str, Any] = {
        "threads": threads(waiter.pid),
        "connections_before": before,
        "connections": connections(look),
        "listening": listening(look),
    }
    stored_at = storer.call("store", ids=ids, pause_seconds=PAUSE_SECONDS)
    woken_at = waiter.answer()
    found["wake_up_seconds"] = [
        woken - stored for woken, stored in zip(woken_at, stored_at, strict=True)
    ]
    return found


def judge(rounds: list[dict[str, Any]]) -> list[Measure]:
    """The bounds of the issue; each round has to keep them."""
    p95s = [percentile(one["wake_up_seconds"], 95) for one in rounds]
    p50s = [percentile(one["wake_up_seconds"], 50) for one in rounds]
    most: Callable[[str], float] = lambda name: max(float(one[name]) for one in rounds)  # noqa: E731
    return [
        Measure("wake-up p50, worst round", max(p50s) * 1000, unit="ms"),
        Measure("wake-up p95, worst round", max(p95s) * 1000, MOST_WAKE_UP_SECONDS * 1000, "ms"),
        Measure("threads of the process, 1,000 waits", most("threads"), 1),
        Measure("connections that listen, 1,000 waits", most("listening"), 1),
        Measure("connections in all, 1,000 waits", most("connections"), 9),
    ]


def threads(pid: int) -> int:
    """The threads of a process (proc(5))."""
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("Threads:"))
    return int(line.split()[1])


def url_of(url: str) -> str:
    """The same Redis for USER, which may do everything."""
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL SETUSER", USER, "on", "nopass", "~*", "&*", "+@all")
    return url.replace("://", f"://{USER}:-@")


def _own(look: redis.Redis) -> list[dict[str, str]]:
    found = look.client_list()
    return [one for one in found if one["user"] == USER]


def connections(look: redis.Redis) -> int:
    """The open connections of the waiting process."""
    return len(_own(look))


def listening(look: redis.Redis) -> int:
    """Those of them that have subscribed to channels."""
    return sum(int(one["sub"]) > 0 for one in _own(look))


def subscribed(look: redis.Redis) -> int:
    """The channels that the waiting process has subscribed to."""
    return sum(int(one["sub"]) for one in _own(look))
