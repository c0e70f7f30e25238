"""The times in a message's headers: `expires`, and `eta`, as which `countdown` is sent, too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def delay_seconds(headers: Mapping[str, Any]) -> float:
    """Seconds until the message's `eta`; 0 without one, or if it cannot be read."""
    return max(0.0, seconds_until(headers, "eta") or 0.0)


def seconds_until(headers: Mapping[str, Any], name: str) -> float | None:
    """Seconds until the time in this header, negative when it has passed.

    None without one, or if it cannot be read.
    """
    text = headers.get(name)
    if not isinstance(text, str):
        return None
    try:
        due = datetime.fromisoformat(text)
        aware = due if due.tzinfo else due.replace(tzinfo=UTC)
        return (aware - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):  # a time zone can push a date out of the calendar
        return None
