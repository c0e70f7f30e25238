"""Reads the savings ledger, day by day, as calls (calls.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.savings import Column

_COLUMNS = {column.value: column for column in Column}


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """One row of one day. A column that nothing was entered in is 0."""

    day: date
    model: str
    route: str
    tenant: str
    sums: Mapping[Column, int]


def today(keys: Keys) -> Calls[date]:
    """The day in UTC by Redis's clock, as scripts enter it."""
    seconds, _ = yield Command(("TIME",))
    last, offset = yield Command(("HMGET", keys.clock, "last", "offset"))
    now_ms = max(int(seconds) * 1000 + int(offset or 0), int(last or 0))
    return datetime.fromtimestamp(now_ms / 1000, UTC).date()


def read_days(keys: Keys, first: date, last: date) -> Calls[list[SavingsRow]]:
    """All rows from one day to another, both among them, in order."""
    found: list[SavingsRow] = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        kept: Mapping[str, str] = yield Command(("HGETALL", f"{keys.savings}{day.isoformat()}"))
        found += _rows(day, kept)
    return found


def _rows(day: date, kept: Mapping[str, str]) -> Iterable[SavingsRow]:
    """The rows of one day. What a newer version has added is not for this one."""
    sums: dict[str, dict[Column, int]] = {}
    for field, number in kept.items():
        place, _, word = field.partition(":")
        if word in _COLUMNS:
            sums.setdefault(place, {})[_COLUMNS[word]] = int(number)
    for field, place in kept.items():
        if field.startswith("row:"):
            model, route, tenant = field.removeprefix("row:").split("\t", 2)
            yield SavingsRow(day, model, route, tenant, sums.get(place, {}))
