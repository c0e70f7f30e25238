"""What paid models cost: bookings before a call is sent, and what became of them.

All amounts are whole nanodollars. Days and months are those of UTC by Redis's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from local_llm_service.worker.store.scripts import Scripts


class Booked(StrEnum):
    """What book.lua says: the call may be sent; its completion was bought before; the budget of the
    day or the month is too small; too many calls for this step were cut off; the job was cancelled,
    or the lease is lost."""

    BOOKED = "booked"
    BOUGHT = "bought"
    DAY = "day"
    MONTH = "month"
    CUT_OFF = "cut_off"
    CANCELLED = "cancelled"
    LOST = "lost"


class CallEnd(StrEnum):
    """How a call without a completion ended: nothing was generated; it was cut off, and all that it
    reserved is spent; the same, but nobody wants the answer any more, so it is no try."""

    FREE = "free"
    CUT_OFF = "cut_off"
    UNWANTED = "unwanted"


@dataclass(frozen=True, slots=True)
class Booking:
    """One call of a paid model. `place` is the fingerprint of the group whose work it is part of,
    or the task id of a job alone; `step` its name there; `nonce` is of this call alone. `row` is
    that of the savings ledger."""

    task_id: str
    place: str
    step: str
    nonce: str
    nano_usd: int
    row: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What a day or a month ("2026-11-29", "2026-11") has cost: `reserved` by calls that are
    running, `paid` for completions, `wasted` on calls that brought none."""

    period: str
    reserved: int
    paid: int
    wasted: int

    @property
    def committed(self) -> int:
        """All of it, which counts against the budget."""
        return self.reserved + self.paid + self.wasted


class SpendingStore:
    """The money. Every call is one round trip and raises redis-py's errors; a call that is
    repeated, as its reply was lost, changes nothing twice."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def book(
        self, booking: Booking, token: str, day_most: int | None, month_most: int | None
    ) -> tuple[Booked, str]:
        """Book what a call may cost; None as a limit is none.

        With BOUGHT comes the completion, with DAY and MONTH the nanodollars that are left.
        """
        limits = ["" if most is None else most for most in (day_most, month_most)]
        one = booking
        args = [one.task_id, token, one.place, one.step, one.nonce, one.nano_usd, *limits, one.row]
        word, text = self._scripts.run("book", args)
        return Booked(word), str(text)

    def buy(self, booking: Booking, nano_usd: int, entry: str) -> bool:
        """Keep a completion and turn its booking into what it has cost; an empty `entry` is not
        kept. Returns False if the booking had been closed as wasted."""
        one = booking
        args = [one.task_id, one.place, one.step, one.nonce, nano_usd, entry]
        return str(self._scripts.run("buy", args)) == "bought"

    def end_booking(self, booking: Booking, how: CallEnd) -> bool:
        """End the booking of a call without a completion. Returns False if it had been closed."""
        one = booking
        args = [one.task_id, one.place, one.step, one.nonce, how.value]
        return bool(self._scripts.run("end_booking", args))

    def spending(self) -> tuple[Spending, Spending]:
        """What this day and this month have cost."""
        told = self._scripts.run("spending", [])
        day, month = (
            Spending(str(period), *map(int, amounts)) for period, *amounts in (told[:4], told[4:])
        )
        return day, month
