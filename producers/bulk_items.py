"""What a bulk call takes: which calls its items stand for, and what is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service.producers.job_core import task_of
from local_llm_service.tasks.kind import Kind
from local_llm_service.worker.errors import InvalidRequest


def arguments_of(kind: Kind, item: object) -> dict[str, Any]:
    """The arguments that an item stands for: itself, or, where it is no dict, the kind's first."""
    if isinstance(item, Mapping):
        return dict(item)
    return {kind.request.POSITIONAL[0]: item}


def check_map(
    kind: str,
    items: object,
    iterables: tuple[type, ...],
    window: int | None,
    options: Mapping[str, Any],
) -> None:
    """Refuse what no bulk call can do. Raises InvalidRequest.

    `items` must be one of `iterables`, and not one text or one call, which have parts, too.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, iterables):
        raise InvalidRequest(
            "items: must be many items", "Give a list, an iterator or a generator of items."
        )
    fields = task_of(kind).kind.request.model_fields
    known = {field.alias or name for name, field in fields.items()}
    if unknown := options.keys() - known:
        raise InvalidRequest(f"{min(unknown)}: {kind} has no such argument or option")
    if window is not None and (not isinstance(window, int) or window < 1 or window is True):
        raise InvalidRequest("window: must be a whole number, at least 1")
    if "task_id" in options:
        raise InvalidRequest("task_id: many jobs cannot have one id")
