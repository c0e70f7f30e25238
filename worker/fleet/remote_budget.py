"""What paid models may cost in a day and in a month, as REMOTE_BUDGET_USD says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Self

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.price import NANO_PER_USD
from local_llm_service.worker.settings import Settings

#: A larger amount in nanodollars is not exact in Lua, and a slip of the keyboard.
MOST_USD = 1_000_000

_UNLIMITED = "unlimited"
_PART = re.compile(r"(?P<usd>\d{1,7}(?:\.\d{1,9})?) ?/ ?(?P<period>day|month)", re.ASCII)
_HINT = "Set it as `5/day`, `100/month`, `5/day,100/month` (US dollars), or `unlimited`."


@dataclass(frozen=True, slots=True)
class RemoteBudget:
    """Nanodollars; None: any amount."""

    day: int | None = None
    month: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The budget that the settings name. Raises InvalidSetting, also where they name none."""
        text = settings.remote_budget_usd
        if text is None:
            raise InvalidSetting("setting REMOTE_BUDGET_USD: paid models need a budget", _HINT)
        return cls.read(text)

    @classmethod
    @lru_cache(maxsize=8)
    def read(cls, text: str) -> Self:
        """Read `5/day,100/month` or `unlimited`. Raises InvalidSetting."""
        if text.strip() == _UNLIMITED:
            return cls()
        limits: dict[str, int] = {}
        for part in text.split(","):
            found = _PART.fullmatch(part.strip())
            if found is None or found["period"] in limits or Decimal(found["usd"]) > MOST_USD:
                raise InvalidSetting(
                    "setting REMOTE_BUDGET_USD: must be like 5/day, 100/month, 5/day,100/month, or "
                    f"unlimited; at most {MOST_USD} US dollars each, with 9 decimals at most",
                    _HINT,
                )
            limits[found["period"]] = int(Decimal(found["usd"]) * NANO_PER_USD)
        return cls(**limits)
