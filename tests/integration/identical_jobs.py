"""Identical jobs for the tests of single flight: ask them, count their runs, see them all end."""

from __future__ import annotations

from typing import Any

import redis
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script

KEYS = Keys()


def runs(server: FakeOllama | LocalLLM, prompt: str = "same") -> int:
    """How often the model was asked this prompt."""
    if isinstance(server, LocalLLM):
        return sum(asked.text == prompt for asked in server.prompts)
    return sum(seen.body["messages"][-1]["content"] == prompt for seen in server.seen)


def slow(server: FakeOllama, seconds: float) -> None:
    """Make every answer take `seconds`."""
    server.respond = lambda _: Script(chunks=("a",) * 10, pause_seconds=seconds / 10)


def ask(count: int = 1, **options: Any) -> list[AsyncResult]:
    """Ask the same question `count` times."""
    return [tasks.generate.delay("same", **options) for _ in range(count)]


def lead_and_join(
    ollama: FakeOllama | LocalLLM, followers: int = 3, **options: Any
) -> list[AsyncResult]:
    """Start one job and let others join it; return the leader, then its followers."""
    first = ask(**options)
    wait_until(lambda: runs(ollama) == 1, "the leader runs")
    others = ask(followers)
    for other in others:
        wait_until(lambda: status(other.id) is JobState.JOINED, "the others join")  # noqa: B023
    return first + others


def wait_until_nothing_is_left(client: redis.Redis | None = None) -> None:
    """Wait until Redis (None: that of `local_llm`) has no key of a single-flight group or an
    in-flight delivery."""
    client = client or process_store().client
    prefixes = (
        KEYS.group,
        KEYS.followers,
        KEYS.waiters,
        KEYS.handoff,
        KEYS.unacked,
        KEYS.unacked_jobs,
    )
    wait_until(
        lambda: not [key for prefix in prefixes for key in client.keys(f"{prefix}*")],
        "nothing is left behind",
    )
