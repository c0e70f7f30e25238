"""What a worker says at its start of settings that it should share with others, and of engines."""

from __future__ import annotations

from decimal import Decimal

import pytest

from local_llm_service.worker import startup_checks
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetModel
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.startup_checks import other_budgets, warn_of_public_engines
from local_llm_service.worker.store.presence import Presence

PAID = FleetModel("large", price=Price(Decimal(1), Decimal(1)))


def fleet(*engines: FleetEngine) -> Fleet:
    """A fleet without routes."""
    return Fleet(engines, ())


def worker(budget: str | None) -> Presence:
    """A worker that has this budget."""
    return Presence(
        name="w@h", slots=1, running=0, model="m", ollama_host="h", ollama_version=None,
        ollama_reachable=True, cache_enabled=True, models=[], remote_budget_usd=budget,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("models", "others"), [((PAID,), ["6/day", "unlimited"]), ((FleetModel("free"),), [])]
)
def test_other_budgets_are_named(
    monkeypatch: pytest.MonkeyPatch, models: tuple[FleetModel, ...], others: list[str]
) -> None:
    """Each worker checks by its own: the largest would count, and nobody would know."""
    away = FleetEngine("away", "openai_compatible", "https://x.example/v1", models=models)
    monkeypatch.setattr(startup_checks.Fleet, "of", lambda _: fleet(away))
    settings = Settings(remote_budget_usd="5/day,9/month")
    theirs = ["unlimited", None, "9/month, 5/day", "6/day", "6/day"]
    assert other_budgets(settings, [worker(one) for one in theirs]) == others


@pytest.mark.parametrize(
    ("url", "leaves", "is_said"),
    [
        ("https://user:secret@api.example.com/v1", False, True),
        ("https://api.example.com/v1", True, False),
        ("http://10.0.0.7:8000/v1", False, False),
        ("http://gpu1:8000/v1", False, False),
    ],
)
def test_an_engine_at_home_that_does_not_look_so_is_named(
    caplog: pytest.LogCaptureFixture, url: str, leaves: bool, is_said: bool
) -> None:
    """The file counts; but a slip there would send away what is to be kept."""
    warn_of_public_engines(
        fleet(FleetEngine("e", "openai_compatible", url, leaves_the_house=leaves))
    )
    assert ("in no private network" in caplog.text) is is_said
    assert "secret" not in caplog.text
