"""Real workers, a scripted paid server, and deaths: nobody spends more than the budget."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import service
from local_llm_service.worker.errors import BudgetExceeded
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.integration.conftest import StartWorker, run_python

KEYS = Keys()
#: A token of answer costs a thousandth of a dollar and one of a prompt nothing, so that a call
#: costs what was booked.
TOKENS = 10
CALL_NANO_USD = TOKENS * 10**6
REPLY = Reply(completion_tokens=TOKENS)


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    """A paid server with the model `large`."""
    with OpenAiServer(respond=lambda _: REPLY) as server:
        yield server


@pytest.fixture
def engines_file(tmp_path: Path, server: OpenAiServer, ollama: Any) -> str:
    """The scripted Ollama at home, and the paid server elsewhere."""
    home = {"name": "home", "kind": "ollama", "url": ollama.host, "slots": 2}
    large = {"name": "large", "prompt_usd": 0, "completion_usd": 1000, "revision": "1"}
    elsewhere = {
        **{"name": "elsewhere", "kind": "openai_compatible", "url": server.url, "slots": 8},
        **{"leaves_the_house": True, "models": [large]},
    }
    path = tmp_path / "engines.json"
    smart = {"name": "smart", "local": "fake:1b", "remote": "large", "complex_from": 0.0}
    path.write_text(json.dumps({"engines": [home, elsewhere], "routes": [smart]}))
    return str(path)


def outcome(job: Any) -> str:
    """An answer, or the code of an error."""
    error = job.get(timeout=60, propagate=False)
    return error.code if isinstance(error, Exception) else "answer"


def ask(number: int) -> Any:
    """A call of the paid model by its name."""
    prompt = f"question {number}"
    return tasks.generate.delay(prompt, model="large", max_tokens=TOKENS, cache=False)


def test_two_hundred_calls_on_a_budget_for_ten_while_workers_die(
    start_worker: StartWorker, engines_file: str, server: OpenAiServer, redis_client: redis.Redis
) -> None:
    """Ten are sent, whatever dies: those that were cut off are spent, and repeated once."""
    server.say(*(Reply(end="hang") for _ in range(4)))
    settings = {
        **{"ENGINES_FILE": engines_file, "REMOTE_BUDGET_USD": "0.1/day,5/month"},
        **{"LEASE_SECONDS": "3", "CONCURRENCY": "8", "DRAIN_SECONDS": "0"},
    }
    victim = start_worker(**settings)
    jobs = [ask(number) for number in range(200)]
    wait_until(lambda: len(server.requests) >= 4, "calls hang")
    start_worker(**settings)
    victim.kill()
    found = Counter(outcome(job) for job in jobs)
    assert len(server.requests) == 10
    day = service.spending()["day"]
    assert day["reserved_nano_usd"] == 0
    assert day["paid_nano_usd"] + day["wasted_nano_usd"] == 10 * CALL_NANO_USD
    assert day["wasted_nano_usd"] >= 4 * CALL_NANO_USD
    assert day["paid_nano_usd"] == found["answer"] * CALL_NANO_USD
    assert found["answer"] + found["budget_exceeded"] == 200
    with pytest.raises(BudgetExceeded, match="leaves 0 USD for today"):
        ask(201).get(timeout=20)
    routed = tasks.generate.delay("hard", model="smart", max_tokens=TOKENS).get(timeout=20)
    assert routed["route"]["chosen"] == "fake:1b"
    assert routed["route"]["reason"] == "remote is over budget, so local"
    assert len(server.requests) == 10
    assert not redis_client.exists(KEYS.bookings)


def test_a_stop_cuts_a_call_off_and_the_next_run_repeats_it_once(
    start_worker: StartWorker, engines_file: str, server: OpenAiServer
) -> None:
    """A worker that is told to end has time to say so."""
    server.say(Reply(end="hang"))
    settings = {"ENGINES_FILE": engines_file, "REMOTE_BUDGET_USD": "1/day", "DRAIN_SECONDS": "0"}
    first = start_worker(**settings)
    job = ask(1)
    wait_until(lambda: len(server.requests) == 1, "it is sent")
    first.stop()
    assert service.spending()["day"]["wasted_nano_usd"] == CALL_NANO_USD
    start_worker(**settings)
    assert outcome(job) == "answer"
    assert len(server.requests) == 2
    assert service.spending()["day"]["paid_nano_usd"] == CALL_NANO_USD


@pytest.mark.parametrize("budget", ["", "5/week"])
def test_a_worker_with_paid_models_needs_a_budget(engines_file: str, budget: str) -> None:
    """It does not start, and says what to set."""
    done = run_python(
        "-m", "local_llm_service.worker", ENGINES_FILE=engines_file, REMOTE_BUDGET_USD=budget
    )
    assert done.returncode != 0
    assert "REMOTE_BUDGET_USD" in done.stderr
    assert "5/day,100/month" in done.stderr
    assert "Traceback" not in done.stderr
