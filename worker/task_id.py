"""Which task ids this service accepts: those that a log, a key and a terminal can show."""

from __future__ import annotations

from typing import Final

#: Longest id, characters. Celery's own have 36.
MOST_CHARACTERS: Final = 255


def is_usable(task_id: object) -> bool:
    """Whether `task_id` is printable text of 1 to MOST_CHARACTERS, without line breaks."""
    return (
        isinstance(task_id, str)
        and 0 < len(task_id) <= MOST_CHARACTERS
        and task_id.isprintable()  # neither control characters nor lone surrogates
    )
