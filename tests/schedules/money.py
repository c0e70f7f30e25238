"""The rules of money, where every model of a schedule has a price."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.store import process_store
from tests.schedules.engine import TOKENS, Generation
from tests.schedules.site import Site

KEYS = Keys()
#: A dollar for a million tokens.
PRICE = Price(Decimal(1), Decimal(1))
#: What each completion of a schedule costs.
COST = PRICE.nano_usd(*TOKENS)
#: Codes of failures after which nothing was generated.
_FREE = ("model_failed", "ollama_busy")


@dataclass
class _Books:
    """What Redis has: open bookings by nonce, and the sums."""

    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    sums: Counter[str] = field(default_factory=Counter)

    @property
    def reserved(self) -> int:
        return sum(int(one["nano_usd"]) for one in self.open.values())


class Money:
    """Checks one site. Between two looks lies one call of an actor."""

    def __init__(self, site: Site) -> None:
        self._site, self._books = site, _Books()
        #: Closed bookings by what became of them: paid, wasted, free.
        self.ended = Counter[str]()
        #: Place and step of what was paid, until its work is over.
        self._paid = set[tuple[str, str]]()
        #: The booking of each generation, by its number.
        self._nonces = dict[int, str]()

    # --- after every step -------------------------------------------------------------------

    def after_step(self) -> None:
        """Raise AssertionError if a rule is broken."""
        before, self._books = self._books, self._read()
        now = self._books
        assert now.sums["reserved"] == now.reserved, f"{now.sums} for {now.open}"
        gone = [one for nonce, one in before.open.items() if nonce not in now.open]
        self._ends_are_right(gone, now.sums - before.sums)
        places = {place for place, _ in self._paid}
        over = {one for one in places if not self._site.glass.client.exists(_steps(one))}
        self._paid = {one for one in self._paid if one[0] not in over}
        for one in self._site.open:
            if self._holds(one) is not None:
                assert self._nonces.get(one.made.number) in now.open, f"{one.made} lost its booking"

    def _ends_are_right(self, gone: list[dict[str, Any]], more: Counter[str]) -> None:
        """What was booked is paid, wasted or free, each once."""
        if more["paid"]:
            assert (more["paid"], len(gone)) == (COST, 1), f"{more} for {gone}"
            self.ended["paid"] += 1
            self._paid.add((gone[0]["place"], gone[0]["step"]))
        elif more["wasted"]:
            booked = sum(int(one["nano_usd"]) for one in gone)
            assert more["wasted"] == booked, f"{more} for {gone}"
            self.ended["wasted"] += len(gone)
        else:
            self.ended["free"] += len(gone)

    def sent(self, one: Generation) -> None:
        """Nothing is sent without a booking, nor for what is there."""
        record = self._holds(one)
        if record is None:
            return  # another worker may go on with its work
        places, booked = {record.get("fingerprint"), one.made.job}, self._read().open.values()
        mine = [booking for booking in booked if booking["place"] in places]
        assert len(mine) == 1, f"{one.made} is sent under {mine}"
        place, step = mine[0]["place"], mine[0]["step"]
        self._nonces[one.made.number] = mine[0]["nonce"]
        assert (place, step) not in self._paid, f"{one.made} is bought twice"
        cuts = self._site.glass.client.hget(_steps(place), f"cuts:{step}")
        assert int(str(cuts or 0)) <= 1, f"{one.made} was cut off {cuts} times"

    def _holds(self, one: Generation) -> dict[str, str] | None:
        """The record of a generation's job, if its worker holds that and nobody cancelled it."""
        record: dict[str, str] = self._site.glass.client.hgetall(KEYS.job(one.made.job))  # type: ignore[assignment]
        is_held = record.get("token") == one.in_flight.delivery.token
        return record if is_held and "cancelled" not in record else None

    # --- at the end -------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """No booking is open; the ledger has the same sums, and all that was made is paid."""
        client, store = self._site.glass.client, process_store()
        names = client.zrange(KEYS.bookings_due, 0, -1)
        if names:  # a minute after all deadlines
            client.zadd(KEYS.bookings_due, dict.fromkeys(map(str, names), 0))  # type: ignore[arg-type]
            self._site.calls.changed = True
        day, month = store.spending.spending()
        self.after_step()
        assert (day.reserved, day.paid, day.wasted) == (month.reserved, month.paid, month.wasted)
        assert not day.reserved, f"{self._books.open} stay open"
        assert day.paid == COST * self.ended["paid"]
        entered = Counter[str]()
        for key in client.scan_iter(f"{KEYS.savings}*"):
            for name, number in client.hgetall(key).items():  # type: ignore[union-attr]
                entered[str(name).rpartition(":")[2]] += int(number) if number.isdigit() else 0
        told = (entered["paid_nano_usd"], entered["wasted_nano_usd"])
        assert told == (day.paid, day.wasted), f"the ledger has {entered}"
        free = sum(code in _FREE for _, code in self._site.failures)
        assert self.ended["free"] <= free, f"{self.ended} with {free} failures"

    def _read(self) -> _Books:
        client = self._site.glass.client
        told = client.hgetall(KEYS.bookings)
        bookings = [json.loads(text) for text in told.values()]  # type: ignore[union-attr]
        due = set(map(str, client.zrange(KEYS.bookings_due, 0, -1)))  # type: ignore[arg-type]
        assert due == set(map(str, told)), f"{due} are looked at, of {told}"  # type: ignore[arg-type]
        sums = Counter[str]()
        for key in client.scan_iter(f"{KEYS.spending}????-??-??"):
            amounts = client.hgetall(key)
            sums.update({str(name): int(number) for name, number in amounts.items()})  # type: ignore[union-attr]
        return _Books({one["nonce"]: one for one in bookings}, sums)


def _steps(place: str) -> str:
    return f"{KEYS.paid_steps}{place}"
