"""Which tasks are this service's own, and which belong to another Celery app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Kinds, and Celery's own tasks and canvas types.
_OURS = ("llm.", "celery.")
#: Celery's tasks that run another one for each of many arguments.
_WRAPPERS = ("celery.map", "celery.starmap")


def is_foreign(name: object, kwargs: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a task is another app's.

    Celery's map and starmap are whose their inner task is, which their `kwargs` name.
    """
    if name in _WRAPPERS:
        inner = (kwargs or {}).get("task")
        name = inner.get("task") if isinstance(inner, Mapping) else inner
    return not str(name).startswith(_OURS)
