"""How API keys are written on the command line: what an operator gives, and what is shown."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import click

from local_llm_service.worker.store.api_keys import NAME_PATTERN, UNIT_SECONDS, ApiKey, Rate


class _Word(click.ParamType):  # type: ignore[type-arg]  # as in reading.py
    """A word that a function reads; its ValueError is the usage error."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the word; click's usage error where it is none."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _name(word: str) -> str:
    if re.fullmatch(NAME_PATTERN, word) is None:
        raise ValueError("must be 1 to 60 of a-z, 0-9, `.`, `_` and `-`")
    return word


def _time(word: str) -> int:
    """ms since 1970, of a date or of a time from now on."""
    if found := re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", word, re.ASCII):
        return now_ms() + int(found[1]) * UNIT_SECONDS[found[2]] * 1000
    try:
        when = datetime.fromisoformat(word)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        until_ms = int(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("must be a time from now on, as 90d, or a date, as 2027-01-31") from None
    if until_ms <= now_ms():
        raise ValueError("lies in the past")
    return until_ms


NAME: Final = _Word("name", _name)
RATE: Final = _Word("rate", Rate.of)
TIME: Final = _Word("time", _time)


def described(key: ApiKey) -> dict[str, Any]:
    """A key in words, for people and scripts."""
    return {
        "name": key.name,
        "id": key.key_id,
        "tenant": key.tenant,
        "ceiling": key.ceiling,
        "rate": str(key.rate) if key.rate else None,
        "concurrency": key.concurrency or None,
        "streams": key.streams or None,
        "keep_local": key.keep_local,
        "created": _written(key.created_ms),
        "expires": _written(key.expires_ms),
        "state": _state(key),
    }


def _state(key: ApiKey) -> str:
    now = now_ms()
    if key.is_revoked:
        return "revoked"
    if key.expires_ms is not None and key.expires_ms <= now:
        return "expired"
    holding = [one for one in key.secrets if one.until_ms is None or one.until_ms > now]
    return "rotating" if len(holding) > 1 else "active"


def line_of(key: ApiKey) -> str:
    """A key in one line."""
    shown = described(key)
    words = ("tenant", "ceiling", "rate", "concurrency", "streams", "expires")
    parts = [f"{word} {shown[word]}" for word in words if shown[word] is not None]
    parts += ["kept local"] if key.keep_local else []
    return "  ".join([key.name, shown["state"], *parts])


def _written(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def now_ms() -> int:
    """The time, ms since 1970."""
    return int(time.time() * 1000)
