"""What an answer says of its own cost: what its job has bought, and nothing where that is nothing.

The paid model of these tests costs a dollar for a million tokens.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from local_llm_service.producers.cli.output import numbers
from local_llm_service.producers.http.openai.chat_reply import local_of
from local_llm_service.tasks import generate
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import StreamBroken
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.store.store import process_store
from tests.doubles.house import House, wrote

pytestmark = pytest.mark.local_llm(settings={"remote_budget_usd": "unlimited"})


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model has a price."""
    monkeypatch.setattr(Fleet, "price", lambda *_: Price(Decimal(1), Decimal(1)))


def asked(**options: Any) -> dict[str, Any]:
    """The answer to the same question."""
    found: dict[str, Any] = generate.delay("x", max_tokens=50, **options).get(timeout=10)
    return found


@pytest.mark.usefixtures("paid")
def test_an_answer_says_what_its_job_has_paid(local_llm: LocalLLM) -> None:
    """To the nanodollar what the budget knows, also in the second run; not what was wasted."""
    local_llm.fail(StreamBroken, "a").reply("Done.")
    answer = asked()
    day, _ = process_store().spending.spending()
    assert day.wasted > 0
    assert answer["paid_usd"] == day.paid / 1e9 > 0
    assert local_of(answer)["paid_usd"] == answer["paid_usd"]
    assert f"{answer['paid_usd']:.6f} USD paid" in numbers(answer)


@pytest.mark.usefixtures("paid")
def test_only_the_job_that_paid_says_so(local_llm: LocalLLM) -> None:
    """From the cache, and joined, it cost nothing: a sum over answers counts no payment twice."""
    with local_llm.held():
        one, other = (generate.delay("x", max_tokens=50) for _ in range(2))
    answers = [one.get(timeout=10), other.get(timeout=10), asked()]
    assert sorted(one["origin"] for one in answers) == ["cached", "computed", "joined"]
    assert [one["origin"] for one in answers if "paid_usd" in one] == ["computed"]
    assert "USD" not in numbers(answers[2])


@pytest.mark.usefixtures("local_llm")
def test_what_costs_nothing_does_not_say_so() -> None:
    """Most answers are as they were."""
    answer = asked()
    assert "paid_usd" not in answer
    assert "paid_usd" not in local_of(answer)


def test_all_models_of_a_route_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose answer was not taken."""
    house = House([wrote("")], [wrote("Better.", model="large")])
    monkeypatch.setattr("tests.doubles.house.Model.paid_nano_usd", 3)
    assert house.generate() == "Better."
    assert house.run.paid_nano_usd == 6
