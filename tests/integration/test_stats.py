"""`local-llm stats` counts each job once, whichever process ended it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import cancel, stats
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import Cancelled, InvalidOutput
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker, run_python


def cli(*arguments: str, **env: str) -> str:
    """The output of `local-llm stats`."""
    done = run_python("-m", "producers", "stats", *arguments, **env)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_before_the_first_job_all_is_zero(redis_client: redis.Redis) -> None:
    """The output has the form of the contract, without a division by zero."""
    assert json.loads(cli("--json")) == {
        "total_requests": 0,
        "avg_latency_ms": 0,
        "total_tokens_generated": 0,
        "cache_enabled": True,
        "hits": 0,
        "misses": 0,
        "joined": 0,
        "hit_rate": 0,
        "estimated_gpt4_cost_usd": 0,
        "cost_savings_usd": 0,
    }


def test_each_job_counts_once_by_its_origin(
    start_worker: StartWorker, ollama: FakeOllama, tmp_path: Path
) -> None:
    """One job is computed, two join, one is cached; each has the cost of a paid model."""
    ollama.respond = lambda _: Script(first_seconds=0.5, prompt_tokens=100)
    start_worker(CONCURRENCY="2")
    for result in [tasks.generate.delay("same") for _ in range(3)]:
        result.get(timeout=20)
    tasks.generate.delay("same").get(timeout=5)
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\nmodel = "gpt-4o"\nprompt_usd = 1000\ncompletion_usd = 10000\n'
        'source = "a test"\nas_of = "2026-11"\n'
    )
    seen: dict[str, Any] = json.loads(cli("--json", PRICES_FILE=str(prices)))
    latency = seen.pop("avg_latency_ms")
    assert 300 < latency < 5000, "three jobs of 0.5 s and one of 0 s"
    assert seen == {
        "total_requests": 4,
        "total_tokens_generated": 2,
        "cache_enabled": True,
        "hits": 1,
        "misses": 1,
        "joined": 2,
        "hit_rate": 0.25,
        "estimated_gpt4_cost_usd": 0.48,  # 4 x (100 x 1000 + 2 x 10000) / 1e6
        "cost_savings_usd": 0.48,
    }
    text = cli()
    assert text.startswith("4 requests: 1 ran, 1 answered from the cache, 2 joined one that ran")
    assert "1 answers put into the cache" in text
    assert "as of 20" in text, "prices have a date"


@pytest.mark.local_llm(redis="embedded")
def test_an_undelivered_answer_saves_nothing(local_llm: LocalLLM) -> None:
    """The model generated text that is not JSON; a paid model would have charged for it too."""
    local_llm.reply("no JSON", times=3)
    with pytest.raises(InvalidOutput):
        tasks.structured_output.delay("x", {"type": "object"}).get(timeout=20)
    seen = stats()
    assert (seen["misses"], seen["total_tokens_generated"]) == (1, 3 * 2)
    assert seen["cost_savings_usd"] == 0 < seen["estimated_gpt4_cost_usd"]


@pytest.mark.local_llm(redis="embedded")
def test_a_cancelled_job_counts_and_saves_nothing(local_llm: LocalLLM) -> None:
    """This holds for queued and running jobs."""
    with local_llm.held():
        running = tasks.generate.delay("running")
        local_llm.wait_until_asked()
        queued = tasks.generate.apply_async(("queued",), countdown=60)
        for result in (running, queued):
            cancel(result.id)
            with pytest.raises(Cancelled):
                result.get(timeout=10)
    seen = stats()
    assert (seen["total_requests"], seen["misses"]) == (2, 2)
    assert seen["cost_savings_usd"] == seen["estimated_gpt4_cost_usd"] == 0
    assert seen["avg_latency_ms"] == 0
