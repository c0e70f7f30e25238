"""What a route does at home and what it pays for stand in the savings ledger, each in its row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service import tasks
from local_llm_service.producers import service
from local_llm_service.worker.fingerprint import full_name
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.two_servers import LOCAL, REMOTE, TwoServers, engines_file
from tests.integration.conftest import StartWorker

#: Of a million tokens at the paid server, nanodollars for one.
PROMPT_NANO, COMPLETION_NANO = 2_500, 10_000


def ask(question: str, **options: Any) -> dict[str, Any]:
    """The answer of the route `auto`."""
    answer: dict[str, Any] = tasks.generate.delay(question, model="auto", **options).get(timeout=30)
    return answer


@pytest.mark.usefixtures("redis_client")
def test_a_cascade_is_entered_as_it_was(
    start_worker: StartWorker, ollama: FakeOllama, tmp_path: Path, redis_client: redis.Redis
) -> None:
    """The try at home is wasted there; the paid answer is computed, paid, and delivered twice."""
    with OpenAiServer(models=(REMOTE,)) as remote:
        house = TwoServers(ollama, remote)
        start_worker(
            ENGINES_FILE=engines_file(tmp_path / "engines.json", ollama, remote),
            REMOTE_BUDGET_USD="unlimited",
        )
        refusal = Script(("I cannot help with that.",), prompt_tokens=20, completion_tokens=6)
        paid = Reply(("Far away.",), prompt_tokens=31, completion_tokens=9)
        hard = house.question(refusal, paid)
        simple = house.question(Script(("At home.",), prompt_tokens=12, completion_tokens=3))
        for origin in ("computed", "cached"):
            assert ask(hard, cache_scope="a")["origin"] == origin
        assert ask(simple, cache_scope="b")["origin"] == "computed"
    rows = service.usage("model").rows
    home, far = rows[full_name(LOCAL)], rows[full_name(REMOTE)]
    assert (home["wasted_prompt"], home["wasted_completion"]) == (20, 6)
    assert (home["computed"], home["computed_prompt"], home["delivered_prompt"]) == (1, 12, 12)
    assert (far["computed"], far["cached"], far["wasted_prompt"]) == (1, 1, 0)
    assert (far["computed_prompt"], far["computed_completion"]) == (31, 9)
    assert (far["cached_prompt"], far["delivered_completion"]) == (31, 18)
    cost = 31 * PROMPT_NANO + 9 * COMPLETION_NANO
    assert far["paid_usd"] == Decimal(cost) / 10**9
    assert (far["wasted_usd"], home["paid_usd"]) == (0, 0)
    # COMPARE_MODEL costs as much here: what is saved of this answer is that it was paid once.
    assert far["saved_usd"] == far["paid_usd"]
    assert list(service.usage("route").rows) == ["auto"]
    assert service.usage("tenant").rows["b"]["paid_usd"] == 0
    paid_nano = service.counts()["paid_nano_usd"]
    assert paid_nano == cost


@pytest.mark.usefixtures("redis_client")
def test_a_paid_call_that_is_cut_off_is_wasted_money(
    start_worker: StartWorker, ollama: FakeOllama, tmp_path: Path
) -> None:
    """The answer comes from home; what was booked for the call counts against the savings."""
    with OpenAiServer(models=(REMOTE,)) as remote:
        house = TwoServers(ollama, remote)
        start_worker(
            ENGINES_FILE=engines_file(tmp_path / "engines.json", ollama, remote),
            REMOTE_BUDGET_USD="unlimited",
        )
        hard = house.question("At home.", Reply(("Half a",), end="cut"), long=True)
        assert ask(hard)["text"] == "At home."
    wait_until(lambda: service.usage().total["wasted_usd"] != 0, "the booking is wasted")
    rows = service.usage("model").rows
    assert rows[full_name(REMOTE)]["paid_usd"] == 0 < rows[full_name(REMOTE)]["wasted_usd"]
    assert rows[full_name(REMOTE)]["computed"] == 0
    assert rows[full_name(LOCAL)]["computed"] == 1
    total = service.usage().total
    assert total["saved_usd"] == total["compared_usd"] - total["wasted_usd"]
