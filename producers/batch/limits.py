"""What ends or pauses a batch before its input ends: too many failures, the time of day."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final, Self

from local_llm_service.worker.errors import InvalidRequest

#: A share of failures says something only of so many lines.
FEWEST_FOR_A_SHARE: Final = 20


@dataclass(frozen=True, slots=True)
class MostFailures:
    """How many lines of one run may fail: a number, or a percentage of those that ended."""

    most: float | None = None
    is_share: bool = False

    @classmethod
    def read(cls, word: str | None) -> Self:
        """Read `10` or `5%`; None is no limit. Raises InvalidRequest."""
        if word is None:
            return cls()
        found = re.fullmatch(r"(\d{1,12}|\d{1,3}(?:\.\d{1,6})?%)", word.strip())
        share = word.strip().endswith("%")
        number = float(word.strip().rstrip("%")) if found else -1.0
        if number < 0 or (share and number > 100):
            raise InvalidRequest(
                "--max-failures: must be a number of lines, or a percentage of them",
                "For example --max-failures 100, or --max-failures 2%.",
            )
        return cls(number, share)

    def exceeded(self, failed: int, ended: int) -> bool:
        """Whether more lines have failed than may, of `ended` ones."""
        if self.most is None:
            return False
        if self.is_share:
            return ended >= FEWEST_FOR_A_SHARE and failed * 100 > self.most * ended
        return failed > self.most


def _now() -> datetime:
    return datetime.now()


class Hours:
    """When a batch may submit, by the local clock of this host.

    `until` ends it at the next such time of day. `between` pauses it outside of the two times;
    the second may be on the next day. Raises InvalidRequest for a word that is no time.
    """

    def __init__(
        self,
        until: str | None = None,
        between: str | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._now = now
        self.end = None if until is None else _next(_time(until, "--until"), now())
        self._between: tuple[time, time] | None = None
        if between is not None:
            first, dash, last = between.partition("-")
            if not dash:
                raise _no_time("--between")
            self._between = _time(first, "--between"), _time(last, "--between")
            if self._between[0] == self._between[1]:
                raise InvalidRequest("--between: the two times are the same", _EXAMPLE)

    def are_over(self) -> bool:
        """Whether the end has come."""
        return self.end is not None and self._now() >= self.end

    def are_open(self) -> bool:
        """Whether jobs may be submitted now."""
        if self._between is None:
            return True
        first, last = self._between
        now = self._now().time()
        return first <= now < last if first < last else now >= first or now < last

    def opening(self) -> datetime | None:
        """When jobs may be submitted again; None while they may."""
        if self._between is None or self.are_open():
            return None
        return _next(self._between[0], self._now())


_EXAMPLE: Final = "For example --until 06:00, or --between 22:00-06:00."


def _no_time(option: str) -> InvalidRequest:
    return InvalidRequest(f"{option}: is no time of day", _EXAMPLE)


def _time(word: str, option: str) -> time:
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", word.strip())
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise _no_time(option)
    return time(int(found[1]), int(found[2]))


def _next(at: time, now: datetime) -> datetime:
    """The next moment of a time of day, not now."""
    found = datetime.combine(now.date(), at)
    return found if found > now else found + timedelta(days=1)
