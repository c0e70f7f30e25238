"""The savings ledger: its functions in Lua, its report, and the prices that it goes by."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from local_llm_service.producers.cli.usage import as_csv_text, as_table
from local_llm_service.producers.usage_report import (
    BY,
    COUNTS,
    MONEY,
    UsageReport,
    day_of,
    exact,
    usage_calls,
)
from local_llm_service.testing.fake_redis import FakeRedis
from local_llm_service.worker.errors import InvalidRequest, InvalidSetting
from local_llm_service.worker.fleet.prices import compared, price_of, price_table
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.store import connection
from local_llm_service.worker.store.calls import drive
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import Work
from local_llm_service.worker.store.savings import Column, RunTokens, row_of, tenant_of
from local_llm_service.worker.store.savings_days import read_days
from local_llm_service.worker.store.scripts import Scripts, shared_functions, uses

KEYS = Keys()
DAY = date(2026, 11, 29)
NOW = int(datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp() * 1000)
MILLISECONDS = 86_400_000


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    """An empty stand-in for Redis."""
    server = FakeRedis()
    with connection.dialling(server.dial):
        yield connection.connect("redis://stand-in.invalid/0")
    server.close()


def linked(call: str) -> str:
    """A script of one call of shared functions."""
    functions, constants = shared_functions(), KEYS.constants()
    parts: dict[str, str] = {}

    def define(word: str) -> None:
        if word in parts:
            return
        value = constants.get(word)
        if value is not None:
            parts[word] = f"local {word} = {value if isinstance(value, int) else repr(value)}"
            return
        for used in uses(functions[word]):
            define(used)
        parts[word] = functions[word]

    define(call.partition("(")[0])
    return "\n".join([*parts.values(), f"return {call}"])


ENTER = linked("enter_in_row(ARGV[1], cjson.decode(ARGV[2]), tonumber(ARGV[3]))")


def enter(client: redis.Redis, row: str, now: int = NOW, **numbers: int) -> None:
    """Enter numbers in a row, as the scripts do."""
    flat = [word for pair in numbers.items() for word in pair]
    client.eval(ENTER, 0, row, json.dumps(flat), now)


def report(client: redis.Redis, by: str = "model", **more: Any) -> UsageReport:
    """The report on that day."""
    settings = Settings(compare_model="gpt-4o")
    calls = usage_calls(KEYS, settings, by, *more.pop("days", (DAY, DAY)), **more)
    return drive(calls, Scripts(client, KEYS).answer)


# --- days and rows ---------------------------------------------------------------------------


def test_days_are_those_of_utc(client: redis.Redis) -> None:
    """Also leap days, centuries, and the last millisecond of a year."""
    days = [0, 1, 58, 59, 60, 364, 365, 10_956, 11_015, 11_016, 19_782, 20_513, 47_540, 47_541]
    random = Random(13)
    moments = [day * MILLISECONDS + random.randrange(MILLISECONDS) for day in days]
    moments += [random.randrange(200 * 365 * MILLISECONDS) for _ in range(300)]
    script = linked("utc_day(tonumber(ARGV[1]))")
    for moment in (*moments, 365 * MILLISECONDS - 1, 365 * MILLISECONDS):
        told = client.eval(script, 0, moment)
        assert told == datetime.fromtimestamp(moment / 1000, UTC).date().isoformat()


def test_tenants_cannot_fill_redis(client: redis.Redis) -> None:
    """Beyond a thousand rows a day, further tenants share one; nothing is lost of the sums."""
    for number in range(1_150):
        enter(client, row_of("m:1", f"tenant {number}", ""), computed=1, computed_prompt=7)
    for number in range(150):
        enter(client, row_of(f"model-{number}", "new", f"route {number}"), computed=1)
    seen = report(client, "tenant")
    assert (seen.total["computed"], seen.total["computed_prompt"]) == (1_300, 1_150 * 7)
    assert seen.rows["(others)"]["computed"] == 300
    assert len(drive(read_days(KEYS, DAY, DAY), Scripts(client, KEYS).answer)) <= 1_101
    assert report(client, "model").rows["(others)"]["computed"] == 150 - 99
    assert client.ttl(f"{KEYS.savings}2026-11-29") == 400 * 86_400


def test_names_cannot_change_the_rows(client: redis.Redis) -> None:
    """A tab or line feed in a name is no separator; nor does half a character break anything."""
    enter(client, row_of("a\tb", "x\ny\t", "r\t"), computed=1)
    enter(client, row_of("m", "\ud800", ""), computed=2)
    rows = drive(read_days(KEYS, DAY, DAY), Scripts(client, KEYS).answer)
    assert [(one.model, one.tenant, one.route) for one in rows] == [
        ("a_b", "x_y_", "r_"),
        ("m", "?", ""),
    ]


@pytest.mark.parametrize(
    ("scope", "tenant"), [(None, ""), ("", ""), ("a", "a"), ("a/b/c", "a"), ("/b", "")]
)
def test_a_tenant_is_what_stands_before_the_first_slash(scope: str | None, tenant: str) -> None:
    """HTTP makes the scope "tenant/own" of a caller's own."""
    assert tenant_of(scope) == tenant


# --- what a run did --------------------------------------------------------------------------


def test_wasted_tokens_are_those_of_the_models_that_did_not_answer() -> None:
    """A failed local try stands in the local model's row, and the summary made there does not."""
    tokens = RunTokens()
    tokens.add("local:1b", 100, 20)  # a summary of 60 and 5, and a try of 40 and 15
    tokens.add("paid:latest", 30, 7)
    work = Work(
        model="paid:latest",
        prompt_tokens=90,
        completion_tokens=12,
        answer_prompt_tokens=30,
        answer_completion_tokens=7,
        wasted_prompt_tokens=40,
        wasted_completion_tokens=15,
        tenant="",
        run_tokens=tokens,
    )
    assert json.loads(work.savings_text) == {
        "model": "paid:latest",
        "tenant": "",
        "prompt": 30,
        "completion": 7,
        "made": {"local:1b": [60, 5, 40, 15], "paid:latest": [30, 7, 0, 0]},
    }


def test_a_model_that_did_nothing_is_not_named() -> None:
    """Callers make names up, and a failure at once would write each into the ledger."""
    assert "made-up" not in Work(model="made-up", run_tokens=RunTokens()).savings_text


def test_a_server_s_counts_are_believed_within_reason() -> None:
    """A sum beyond 64 bits would break the script that ends the job."""
    tokens = RunTokens()
    tokens.add("m", 10**30, -5)
    text = Work(model="m", answer_prompt_tokens=10**30, run_tokens=tokens).savings_text
    assert json.loads(text)["made"] == {"m": [10**9, 0, 0, 0]}
    assert json.loads(text)["prompt"] == 10**9


# --- the report ------------------------------------------------------------------------------

NAMES = ("", "a", '=HYPERLINK("x")', "12.5", "b,c", 'say "hi"', "(others)")


def filled(client: redis.Redis) -> None:
    """Some hundred rows over three days, with money in odd nanodollars."""
    random = Random(4)
    for number in range(300):
        row = row_of(f"m{number % 5}:1b", random.choice(NAMES), random.choice(("", "auto")))
        numbers = {
            str(column): random.randrange(10 ** random.randrange(1, 10)) for column in Column
        }
        enter(client, row, NOW - number % 3 * MILLISECONDS, **numbers)


@pytest.mark.parametrize("by", BY)
def test_the_total_is_the_sum_of_the_rows_in_every_form(client: redis.Redis, by: str) -> None:
    """To the last digit, as JSON, as CSV and as a table, and the same by whatever it is summed."""
    filled(client)
    days = (date(2026, 11, 1), DAY)
    seen = report(client, by, days=days)
    assert seen.total == report(client, "day", days=days).total
    plain = json.loads(json.dumps(seen.plain()))
    for column in map(str, COUNTS):
        assert plain["total"][column] == sum(row[column] for row in plain["rows"])
    for column in MONEY:
        assert Decimal(plain["total"][column]) == sum(Decimal(row[column]) for row in plain["rows"])
    head, *rows, total = csv.reader(as_csv_text(seen).splitlines())
    assert total[0] == "total"
    for place in range(1, len(head)):
        assert Decimal(total[place]) == sum(Decimal(row[place]) for row in rows)
    _, *lines, last = [line.split() for line in as_table(seen).splitlines()]
    for place in range(-9, 0):
        assert Decimal(last[place]) == sum(Decimal(line[place]) for line in lines)


def test_savings_are_what_was_not_paid(client: redis.Redis) -> None:
    """gpt-4o costs 2.50 and 10 USD for a million tokens."""
    paid = {"paid_nano_usd": 1_500_000_001, "wasted_nano_usd": 1}
    enter(client, row_of("paid:latest", "", "auto"), **paid)
    enter(client, row_of("m:1b", "", ""), delivered_prompt=1_000_000, delivered_completion=1)
    total = report(client).plain()["total"]
    assert (total["paid_usd"], total["wasted_usd"]) == ("1.500000001", "0.000000001")
    assert total["compared_usd"] == "2.50001"
    assert Decimal(total["saved_usd"]) == Decimal("2.50001") - Decimal("1.500000002")


def test_a_tenant_sees_its_own_rows(client: redis.Redis) -> None:
    """Not even the total tells of another's."""
    enter(client, row_of("m:1b", "a", ""), computed=1)
    enter(client, row_of("secret:1b", "b", ""), computed=2)
    seen = report(client, "model", tenant="a")
    assert (list(seen.rows), seen.total["computed"]) == (["m:1b"], 1)


def test_no_spreadsheet_runs_a_tenant_s_name(client: redis.Redis) -> None:
    """A name that begins as a formula has an apostrophe before it."""
    enter(client, row_of("m", "=1+1", ""), computed=1)
    assert as_csv_text(report(client, "tenant")).splitlines()[1].startswith("'=1+1,")


@pytest.mark.parametrize(
    ("by", "days"),
    [
        ("weather", (DAY, DAY)),
        ("day", (DAY, date(2026, 11, 28))),
        ("day", (date(2020, 1, 1), DAY)),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    client: redis.Redis, by: str, days: tuple[date, date]
) -> None:
    """With the argument's name."""
    with pytest.raises(InvalidRequest, match=r"^(by|since): "):
        report(client, by, days=days)


@pytest.mark.parametrize(
    "text", ["2026-11-31", "2026-W48-7", "20261129", "today", "２０２６-11-29", ""]
)
def test_a_day_is_written_in_one_way(text: str) -> None:
    """YYYY-MM-DD, and there is such a day."""
    with pytest.raises(InvalidRequest, match="since: must be a day"):
        day_of(text, "since")


def test_exact_numbers_have_no_exponent() -> None:
    """Programs that read decimals take them as they are."""
    assert [exact(Decimal(one)) for one in ("1E-9", "100", "2.50", "-0.0", "1E+3")] == [
        *("0.000000001", "100", "2.5", "0", "1000")
    ]


# --- prices ----------------------------------------------------------------------------------


def test_every_price_has_its_source_and_date() -> None:
    """The table that comes with the package, the default model among them."""
    table = price_table()
    assert compared(Settings().compare_model).model == "gpt-4o"
    assert all(row.source.startswith("https://") and row.as_of >= "2026" for row in table.values())
    assert not any(row.price.is_free for row in table.values())


def test_own_prices_come_first(tmp_path: Path) -> None:
    """A row of PRICES_FILE takes the place of ours; the others stay."""
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[price]]\nmodel = "gpt-4o"\nprompt_usd = 0.1\ncompletion_usd = 3\n'
        'source = "our contract"\nas_of = "2026-11-01"\n'
    )
    found = price_of("gpt-4o:latest", str(file))
    assert found is not None
    assert found.nano_usd(3, 1) == 300 + 3_000
    assert price_of("gpt-4o-mini", str(file)) == price_of("gpt-4o-mini")
    assert price_of("no such model", str(file)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[price]", "it is no TOML"),
        ('[[price]]\nmodel = "m"\n', r"price\.0\.prompt_usd: Field required"),
        ('[[price]]\nmodel = "m"\nprompt_usd = -1\n', "greater than or equal to 0"),
        ('[[price]]\nmodel = "m"\nprompt_usd = nan\n', "finite"),
        ("cost = 1", "price: Field required"),
    ],
)
def test_a_wrong_prices_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """With what is wrong in it."""
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(InvalidSetting, match=f"PRICES_FILE: .*{problem}"):
        price_table(str(file))
    with pytest.raises(InvalidSetting, match="PRICES_FILE: No such file"):
        price_table(str(tmp_path / "none"))


def test_a_compared_model_needs_a_price() -> None:
    """The error names those that have one."""
    with pytest.raises(InvalidSetting, match="COMPARE_MODEL: no price of 'gpt-99'") as caught:
        compared("gpt-99")
    assert "gpt-4o" in caught.value.hint


@pytest.mark.parametrize("name", ["GPT4_PROMPT_USD", "GPT4_COMPLETION_USD", "GPT4_PRICES_FROM"])
def test_variables_of_earlier_versions_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever set a price is told where it goes now."""
    monkeypatch.setenv(name, "5")
    get_settings.cache_clear()
    with pytest.raises(InvalidSetting, match=f"{name} is no more") as caught:
        get_settings()
    assert "PRICES_FILE" in caught.value.hint
