"""What the service did and what that saved, out of the savings ledger: rows, and their exact total.

Savings are what COMPARE_MODEL would have cost for the answers that were delivered, less what was
paid. All is counted in whole tokens and exact decimals, so the total is the sum of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext
from typing import Any, Final

from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.fleet.price import Price, usd_of
from local_llm_service.worker.fleet.prices import PricedModel, compared
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.bounds import SAVINGS_SECONDS
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.savings import Column
from local_llm_service.worker.store.savings_days import SavingsRow, read_days, today

#: Days that are shown where nobody says since when.
DAYS_SHOWN: Final = 30
#: Days that are kept.
DAYS_MOST: Final = SAVINGS_SECONDS // 86_400
#: Columns of whole numbers, in the order in which they are shown.
COUNTS: Final = tuple(one for one in Column if not one.value.endswith("nano_usd"))
#: Columns of US dollars: for completions, for calls that brought none, what the compared model
#: would have cost, and that less the two.
MONEY: Final = ("paid_usd", "wasted_usd", "compared_usd", "saved_usd")

_BY: Final[Mapping[str, Callable[[SavingsRow], str]]] = {
    "day": lambda row: row.day.isoformat(),
    "model": lambda row: row.model,
    "tenant": lambda row: row.tenant,
    "route": lambda row: row.route,
}
BY: Final = tuple(_BY)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Sums by day, model, tenant or route, from one day to another, both among them (UTC).

    `rows` maps a name ("" for none) to its sums; money is in US dollars. `compared` is the row of
    the table of prices that `compared_usd` goes by.
    """

    by: str
    since: date
    until: date
    compared: PricedModel
    rows: Mapping[str, Mapping[str, int | Decimal]]
    total: Mapping[str, int | Decimal]

    def plain(self) -> dict[str, Any]:
        """The report as JSON has it. US dollars are text, as a float is not exact."""
        return {
            "by": self.by,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "compared_with": {
                "model": self.compared.model,
                "prompt_usd": exact(self.compared.prompt_usd),
                "completion_usd": exact(self.compared.completion_usd),
                "source": self.compared.source,
                "as_of": self.compared.as_of,
            },
            "rows": [{self.by: name, **_plain(sums)} for name, sums in self.rows.items()],
            "total": _plain(self.total),
        }


def usage_calls(
    keys: Keys,
    settings: Settings,
    by: str,
    since: date | None = None,
    until: date | None = None,
    *,
    tenant: str | None = None,
) -> Calls[UsageReport]:
    """Read the ledger; of one `tenant` alone, where one is given.

    Raises InvalidRequest for a word or days that make no sense, and InvalidSetting for a
    COMPARE_MODEL without a price.
    """
    if by not in _BY:
        raise InvalidRequest(f"by: must be one of {', '.join(BY)}")
    row = compared(settings.compare_model, settings.prices_file)
    last = until or (yield from today(keys))
    first = since or last - timedelta(days=DAYS_SHOWN - 1)
    if first > last:
        raise InvalidRequest("since: must not be later than until")
    if (last - first).days >= DAYS_MOST:
        raise InvalidRequest(f"since: at most {DAYS_MOST} days are kept")
    found = yield from read_days(keys, first, last)
    mine = [one for one in found if tenant is None or one.tenant == tenant]
    return _report(by, first, last, row, mine)


def _report(
    by: str, first: date, last: date, row: PricedModel, found: Iterable[SavingsRow]
) -> UsageReport:
    sums: dict[str, dict[Column, int]] = {}
    for one in found:
        own = sums.setdefault(_BY[by](one), {})
        for column, number in one.sums.items():
            own[column] = own.get(column, 0) + number
    total = {column: sum(one.get(column, 0) for one in sums.values()) for column in Column}
    rows = {name: _sums(sums[name], row.price) for name in sorted(sums)}
    return UsageReport(by, first, last, row, rows, _sums(total, row.price))


def _sums(numbers: Mapping[Column, int], price: Price) -> dict[str, int | Decimal]:
    """Counts and money of one row. Money follows from the counts without rounding."""
    found: dict[str, int | Decimal] = {str(one): numbers.get(one, 0) for one in COUNTS}
    paid, wasted = (
        usd_of(numbers.get(one, 0)) for one in (Column.PAID_NANO_USD, Column.WASTED_NANO_USD)
    )
    with localcontext(prec=100):
        worth = (
            numbers.get(Column.DELIVERED_PROMPT, 0) * price.prompt_usd
            + numbers.get(Column.DELIVERED_COMPLETION, 0) * price.completion_usd
        ) / 1_000_000
        money = (paid, wasted, worth, worth - paid - wasted)
    return found | dict(zip(MONEY, money, strict=True))


def _plain(sums: Mapping[str, int | Decimal]) -> dict[str, int | str]:
    return {name: exact(one) if isinstance(one, Decimal) else one for name, one in sums.items()}


def exact(usd: Decimal) -> str:
    """All of a number, without an exponent and without zeros at its end."""
    text = f"{usd:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def day_of(text: str, name: str) -> date:
    """The day that an argument names. Raises InvalidRequest."""
    if _DAY.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise InvalidRequest(f"{name}: must be a day, YYYY-MM-DD")
