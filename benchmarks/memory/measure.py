"""One measurement on one checkout, in a process of its own: `measure.py format` or `waiters N`.

It is run by path, so that the package comes from the checkout that PYTHONPATH names; it uses only
what both sides of a comparison have. Prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

from local_llm_service.worker.store import presence
from local_llm_service.worker.store.outcomes import (
    Ending,
    ResultTemplate,
    ResultText,
    SettleFor,
    Work,
)
from local_llm_service.worker.store.states import CacheBounds, CacheQuery, JobState, Lifetimes
from local_llm_service.worker.store.states import NewJob as New
from local_llm_service.worker.store.store import Store

CHARACTERS = 400_000
PROMPTS = {
    "ascii": "The quick brown fox jumps over it. "[:32] * (CHARACTERS // 32),
    "emoji": "😀" * CHARACTERS,
}
QUEUE, MODEL, PRINT = "llm.low", "fake:1b", "same"
#: Calls to Redis at a time while a group is made.
AT_ONCE = 500

PING = """
import sys, threading, time, redis
client = redis.Redis.from_url(sys.argv[1], socket_timeout=120)
client.ping()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
took = []
while not ended.is_set():
    began = time.perf_counter()
    client.ping()
    took.append(time.perf_counter() - began)
    time.sleep(0.0005)
took.sort()
print(max(took), took[len(took) // 2], took[int(len(took) * 0.99)], len(took))
"""


def measure_format() -> dict[str, Any]:
    """Bytes that Redis takes for the message of one job, and the time of its call and its take."""
    from local_llm_service.tasks import generate
    from local_llm_service.worker.store.store import process_store

    store, found = process_store(), {}
    for name, prompt in PROMPTS.items():
        store.client.flushall()
        began = time.perf_counter()
        generate.delay(prompt, priority="low")
        called = time.perf_counter() - began
        used = store.client.memory_usage(store.keys.queue(QUEUE), samples=0)
        raw = store.client.lindex(store.keys.queue(QUEUE), 0)
        message = len(str(raw).encode())
        store.client.config_resetstat()
        store.jobs.take([QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex)
        stat = store.client.info("commandstats")
        scripts = stat.get("cmdstat_evalsha") or stat["cmdstat_script|load"]  # type: ignore[index,union-attr]
        found[name] = {
            "message_bytes": message,
            "used_bytes": used,
            "call_seconds": called,
            "take_in_redis_seconds": scripts["usec_per_call"] / 1e6,
        }
    return found


class _Buffer:
    """A client that sends script calls together and gives each the reply of a fresh queue."""

    def __init__(self, client: Any) -> None:
        self._client, self._pipe = client, client.pipeline(transaction=False)
        self.waiting = 0

    def execute_command(self, *words: Any) -> Any:
        """Note a call; nothing of its reply is needed."""
        self._pipe.execute_command(*words)
        self.waiting += 1
        if self.waiting >= AT_ONCE:
            self.flush()
        return ["queue", 0]

    def flush(self) -> None:
        """Send what is noted."""
        self._pipe.execute()
        self.waiting = 0


def make_group(store: Store, waiters: int) -> tuple[str, str]:
    """A leader and its followers; returns the leader's id and token."""
    table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
    presence.publish(store, "w", "{}", table)
    leader = ask(store)
    delivery = take(store)
    assert store.single_flight.claim(leader, delivery.token, PRINT, canvas=False)[0] == "lead"
    real, buffer = store.scripts.client, _Buffer(store.scripts.client)
    for place in range(waiters):
        store.scripts.client = buffer  # type: ignore[assignment]
        ask(store)
        store.scripts.client = real
        if (place + 1) % AT_ONCE == 0:  # the consensus lives for seconds
            presence.publish(store, "w", "{}", table)
    buffer.flush()
    for _ in range(waiters):
        one = take(store)
        claim = store.single_flight.claim(one.task_id, one.token, PRINT, canvas=False)[0]
        assert claim == "joined", claim
    return leader, delivery.token


def ask(store: Store) -> str:
    """Submit a job and put its message, of about a kilobyte."""
    task_id = str(uuid4())
    new = New(task_id, "generate", QUEUE, 3600, 0, canvas=False, has_new_id=True)
    store.jobs.submit(new, CacheQuery("*", f"{MODEL} 1", PRINT, '{"result": {', "}}", "2026-01-01"))
    headers = {"id": task_id, "task": "llm.generate", "llm_submitted": True}
    properties = {"delivery_tag": f"tag-{task_id}"}
    message = {"body": "x" * 1000, "headers": headers, "properties": properties}
    store.jobs.put(QUEUE, json.dumps(message), task_id, 0)
    return task_id


def take(store: Store) -> Any:
    """The next message."""
    return store.jobs.take([QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex)


def measure_waiters(waiters: int) -> dict[str, Any]:
    """How long a settle takes, and the longest ping of another client meanwhile."""
    url = os.environ["REDIS_URL"]
    import redis

    client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=120)
    client.flushall()
    store = Store(client, Lifetimes(3600, 3600, 3600), CacheBounds(60, 10_000, 100_000))
    leader, token = make_group(store, waiters)
    template = ResultTemplate("ia", ('{"status": "SUCCESS", "task_id": ', ', "result": {', "}}"))
    text = ResultText('{"result": {', f'"text": "{"word " * 100}"', "}}", template)
    work = Work("computed", 3, 2, 0.1, cacheable=True)
    ending = Ending(JobState.SUCCEEDED, "", SettleFor.EVERYONE, False, text, work)
    with subprocess.Popen(
        [sys.executable, "-c", PING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as ping:
        assert ping.stdout is not None
        assert ping.stdin is not None
        ping.stdout.readline()
        time.sleep(0.3)
        client.config_resetstat()
        began = time.perf_counter()
        _, followers = store.jobs.settle(leader, token, ending)
        took = time.perf_counter() - began
        ping.stdin.close()
        longest, median, p99, count = map(float, ping.stdout.read().split())
    assert len(followers) == waiters, len(followers)
    slow = {name: stat for name, stat in client.info("commandstats").items() if "eval" in name}
    return {
        "settle_seconds": took,
        "longest_ping_seconds": longest,
        "median_ping_seconds": median,
        "p99_ping_seconds": p99,
        "pings": count,
        "scripts": slow,
    }


if __name__ == "__main__":
    what = sys.argv[1]
    done = measure_format() if what == "format" else measure_waiters(int(sys.argv[2]))
    print(json.dumps(done))
