"""The rule of the savings ledger: it holds what callers got and what models were asked, once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.savings import Column
from local_llm_service.worker.store.savings_days import SavingsRow, read_days, today
from local_llm_service.worker.store.store import process_store
from tests.schedules.engine import TOKENS
from tests.schedules.site import Site

_OUTCOMES = (Column.COMPUTED, Column.CACHED, Column.JOINED, Column.FAILED, Column.CANCELLED)


def check(site: Site, results: Mapping[str, str]) -> None:
    """Raise AssertionError unless it agrees with the results and the generations of a schedule.

    Only a process that died can have taken tokens with it that nobody has heard of.
    """
    rows = _rows()
    told = _told(site, results)
    entered = Counter[tuple[str, str]]()
    for row in rows:
        for column in _OUTCOMES:
            entered[row.tenant, column] += row.sums.get(column, 0)
    assert +entered == told, f"{+entered} in the ledger, {told} were told"

    def total(*columns: Column) -> int:
        return sum(row.sums.get(column, 0) for row in rows for column in columns)

    made = [one for one in site.generations if one.is_finished]
    known = sum(not one.actor.crashed for one in made)
    prompt = total(Column.COMPUTED_PROMPT, Column.WASTED_PROMPT)
    completion = total(Column.COMPUTED_COMPLETION, Column.WASTED_COMPLETION)
    most = len(made) * TOKENS[0]
    assert known * TOKENS[0] <= prompt <= most, f"{prompt} of {most} tokens, {known} runs are known"
    assert prompt * TOKENS[1] == completion * TOKENS[0], f"{prompt} with {completion}"
    answers = sum(entered[one] for one in entered if one[1] in _OUTCOMES[:3])
    delivered = total(Column.DELIVERED_PROMPT), total(Column.DELIVERED_COMPLETION)
    assert delivered >= (answers * TOKENS[0], answers * TOKENS[1]), f"{delivered} for {answers}"


def _rows() -> list[SavingsRow]:
    store, keys = process_store(), Keys()
    day = store.drive(today(keys))
    return store.drive(read_days(keys, day - timedelta(days=1), day))


def _told(site: Site, results: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """What callers were told, by tenant and by what the ledger calls it."""
    told = Counter[tuple[str, str]]()
    for task_id, text in results.items():
        result = json.loads(text)["result"]
        failed = {None: None, "Cancelled": Column.CANCELLED}.get(
            result.get("exc_type"), Column.FAILED
        )
        told[site.jobs[task_id].scope or "", failed or result["origin"]] += 1
    return told
