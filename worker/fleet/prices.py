"""The dated table of prices (prices.toml), and what a user's PRICES_FILE adds to it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.price import Price

#: The table that comes with the package.
TABLE: Final = Path(__file__).with_suffix(".toml")

#: US dollars for a million tokens. With six decimals a token costs whole picodollars.
_Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]


class PricedModel(BaseModel):
    """One row: what a model's tokens cost, where that is said, and when it was so (YYYY-MM or
    YYYY-MM-DD)."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    prompt_usd: _Usd
    completion_usd: _Usd
    source: Annotated[str, Field(min_length=1)]
    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]

    @property
    def price(self) -> Price:
        """What tokens cost."""
        return Price(self.prompt_usd, self.completion_usd)

    @property
    def from_where(self) -> str:
        """Model, source and date, in words."""
        return f"{self.model}, {self.source}, as of {self.as_of}"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    price: list[PricedModel]


def price_of(model: str, prices_file: str | None = None) -> Price | None:
    """What a model's tokens cost, by the table; None where no row names it.

    Raises InvalidSetting for a PRICES_FILE that cannot be read.
    """
    row = price_table(prices_file).get(_bare(model))
    return None if row is None else row.price


def compared(model: str, prices_file: str | None = None) -> PricedModel:
    """The row of the model that answers are compared with, COMPARE_MODEL. Raises InvalidSetting."""
    table = price_table(prices_file)
    row = table.get(_bare(model))
    if row is None:
        raise InvalidSetting(
            f"setting COMPARE_MODEL: no price of {model!r} is known",
            f"Name one of {', '.join(table)}, or give its price in PRICES_FILE.",
        )
    return row


@lru_cache(maxsize=4)
def price_table(prices_file: str | None = None) -> Mapping[str, PricedModel]:
    """All rows by model, the user's before ours. Raises InvalidSetting."""
    rows = {row.model: row for row in _read(TABLE.read_text())}
    if prices_file is not None:
        rows |= {row.model: row for row in _read_own(Path(prices_file))}
    return MappingProxyType(rows)


def _read_own(file: Path) -> list[PricedModel]:
    try:
        return _read(file.read_text())
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"it is no TOML: {error}"
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise InvalidSetting(
        f"setting PRICES_FILE: {problem}",
        "Write rows as in worker/fleet/prices.toml: [[price]] with model, prompt_usd,"
        " completion_usd, source and as_of.",
    )


def _read(text: str) -> list[PricedModel]:
    return _Table.model_validate(tomllib.loads(text, parse_float=Decimal)).price


def _bare(model: str) -> str:
    """A name without the tag that means none."""
    return model.removesuffix(":latest")
