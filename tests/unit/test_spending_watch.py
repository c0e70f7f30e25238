"""The chore that looks at the money: what is left, as metrics, every ten seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from local_llm_service.testing.service import GivenSettings
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.fleet.parts import FleetModel
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.lease.spending_watch import LOOK_SECONDS, SpendingWatch
from local_llm_service.worker.store.spending import Spending

USD = 10**9


class Site:
    """A watch over a fleet with one model, and how often it looked."""

    def __init__(self, price: Price | None, budget: str | None, spent: Sequence[Spending]) -> None:
        settings = GivenSettings(remote_budget_usd=budget)
        fleet = Fleet.of(settings)
        engine = replace(fleet.engines[0], models=(FleetModel("large", price=price),))
        self.looks, self.now = 0, 0.0

        def spending() -> Sequence[Spending]:
            self.looks += 1
            return spent

        store = SimpleNamespace(spending=SimpleNamespace(spending=spending))
        fleet = replace(fleet, engines=(engine,))
        self.watch = SpendingWatch(fleet, settings, cast(Any, store), lambda: self.now)


def left(period: str) -> float | None:
    """What the metrics say."""
    return REGISTRY.get_sample_value("local_llm_remote_budget_left_usd", {"period": period})


def test_what_is_left_is_told_every_ten_seconds() -> None:
    """Of each limit that there is, and never less than nothing."""
    spent = Spending("2026-11-29", USD, USD, USD // 2), Spending("2026-11", 0, 9 * USD, 0)
    site = Site(Price(Decimal(1), Decimal(2)), "5/day,8/month", spent)
    for now in (0.0, LOOK_SECONDS - 1, LOOK_SECONDS):
        site.now = now
        site.watch.look()
    assert site.looks == 2
    assert (left("day"), left("month")) == (2.5, 0.0)


@pytest.mark.parametrize("price", [None, Price(Decimal(0), Decimal(0))])
def test_nobody_looks_where_nothing_has_a_price(price: Price | None) -> None:
    """No budget is needed there either."""
    site = Site(price, None, ())
    site.watch.look()
    assert site.looks == 0


def test_a_price_without_a_budget_stops_the_worker() -> None:
    """Before it takes a job."""
    with pytest.raises(InvalidSetting, match="REMOTE_BUDGET_USD"):
        Site(Price(Decimal(1), Decimal(1)), None, ())
