"""REMOTE_BUDGET_USD: what it may say, and what is refused before anything is spent."""

from __future__ import annotations

import pytest

from local_llm_service.testing.service import GivenSettings
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.remote_budget import RemoteBudget


@pytest.mark.parametrize(
    ("text", "day", "month"),
    [
        ("5/day", 5_000_000_000, None),
        ("100/month", None, 100_000_000_000),
        ("5/day,100/month", 5_000_000_000, 100_000_000_000),
        (" 0.30 / month , 0.1/day ", 100_000_000, 300_000_000),
        ("0/day", 0, None),
        ("0.000000001/day", 1, None),
        ("1000000/month", None, 10**15),
        ("unlimited", None, None),
    ],
)
def test_amounts_are_exact(text: str, day: int | None, month: int | None) -> None:
    """Down to a nanodollar; 0 is a budget for nothing."""
    assert RemoteBudget.read(text) == RemoteBudget(day, month)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "5/week", "5/day/month", "day/5", "5/day,6/day", "5/day,", "5/day;1/month"),
        *("-1/day", "1e3/day", "nan/day", "inf/day", "1_000/day", "٥/day", "$5/day", "5,5/day"),
        *("0.0000000001/day", "1000001/day", "99999999/day", "unlimited,5/day", "5 USD/day"),
    ],
)
def test_all_else_is_refused_with_what_to_write(text: str) -> None:
    """One sentence names the variable, and one says what it may be."""
    with pytest.raises(InvalidSetting, match="REMOTE_BUDGET_USD") as caught:
        RemoteBudget.read(text)
    assert "`5/day,100/month`" in caught.value.hint


def test_paid_models_need_a_budget() -> None:
    """Nobody means to pay any amount who has said nothing."""
    with pytest.raises(InvalidSetting, match="paid models need a budget"):
        RemoteBudget.of(GivenSettings())
    assert RemoteBudget.of(GivenSettings(remote_budget_usd="1/day")).day == 1_000_000_000
