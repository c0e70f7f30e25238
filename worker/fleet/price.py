"""What tokens cost, in whole nanodollars: sums of them are exact in Python, Lua and Redis alike."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

#: Nanodollars in one US dollar.
NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of prompts and of completions."""

    prompt_usd: Decimal
    completion_usd: Decimal

    def nano_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What these tokens cost together, nanodollars; a part of one counts as one."""
        per_million = prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd
        nano = per_million * NANO_PER_USD / 1_000_000
        return int(nano.to_integral_value(rounding=ROUND_CEILING))

    @property
    def is_free(self) -> bool:
        """Whether no token costs anything."""
        return self.prompt_usd == 0 and self.completion_usd == 0


def usd_of(nano_usd: int) -> Decimal:
    """Nanodollars as US dollars, exactly."""
    return Decimal(nano_usd) / NANO_PER_USD


def usd_text(nano_usd: int) -> str:
    """An amount for a person, exactly: no exponent, and no zeros at its end."""
    text = f"{usd_of(nano_usd):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
