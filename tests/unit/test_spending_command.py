"""`local-llm spending`: exact amounts, with and without a budget."""

from __future__ import annotations

import json

import pytest

from local_llm_service.producers import cli
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.store import process_store


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["spending", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def spend() -> None:
    """A day with some of everything, in a month that has more."""
    day, month = process_store().spending.spending()
    client, prefix = process_store().client, Keys().spending
    amounts = {"paid": 421_300_000, "wasted": 1, "reserved": 12_000_000}
    client.hset(f"{prefix}{day.period}", mapping=amounts)
    client.hset(f"{prefix}{month.period}", mapping=amounts | {"paid": 90_000_000_000})


@pytest.mark.local_llm(settings={"remote_budget_usd": "5/day,50/month"})
def test_what_is_left_of_each_budget(
    local_llm: LocalLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the nanodollar, and never less than nothing."""
    spend()
    day, month = shown(capsys).splitlines()
    spent = "paid 0.4213 USD, wasted 0.000000001, reserved 0.012"
    assert day.endswith(f"  {spent}; 4.566699999 of 5 USD left")
    assert month.endswith("; 0 of 50 USD left")
    told = json.loads(shown(capsys, "--json"))
    assert told["day"]["left_nano_usd"] == 4_566_699_999
    assert told["month"]["paid_nano_usd"] == 90_000_000_000


def test_without_a_budget_there_is_nothing_left_to_tell(
    local_llm: LocalLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what was spent."""
    assert shown(capsys).splitlines()[0].endswith("paid 0 USD, wasted 0, reserved 0")
    assert json.loads(shown(capsys, "--json"))["day"]["left_nano_usd"] is None
