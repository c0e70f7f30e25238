"""The start time of a message: `countdown` and `eta`, which Celery writes into its headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def delay_seconds(headers: Mapping[str, Any]) -> float:
    """Seconds until the message's `eta`; 0 without one, or if it cannot be read."""
    eta = headers.get("eta")
    if not isinstance(eta, str):
        return 0.0
    try:
        due = datetime.fromisoformat(eta)
    except ValueError:
        return 0.0
    aware = due if due.tzinfo else due.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
