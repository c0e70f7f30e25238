"""Lets a block of code find our Celery app as it was before its first use, and puts it back after.

For a process whose settings are replaced, as in tests of a caller's code: what the app has read of
its settings, its connections and its result backend must not outlive them, in either direction.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext.plain_app import plain_app

#: The attributes of an app that hold settings, connections or the result backend, as they are
#: before its first use; None here where the app makes them again by itself.
_UNUSED: dict[str, Any] = {
    "_conf": None,
    "_pool": None,
    "_backend_cache": None,
    "configured": False,
}
#: What the app makes of its settings at the first use, and keeps as attributes.
_KEPT = ("control", "loader")
_SETTINGS = "local_llm_service.celeryconfig"
_ABSENT = object()


@contextmanager
def fresh_app() -> Iterator[None]:
    """In this block, our app reads the settings again and makes connections of its own.

    Other threads use the same app: none of them should use it at the block's beginning or end.
    """
    import_module("local_llm_service.tasks")
    names = (*_UNUSED, *_KEPT, "_local")
    before = {name: app.__dict__.get(name, _ABSENT) for name in names}
    producers, settings = app.amqp._producer_pool, _forget_module()
    app.__dict__.update(_UNUSED)
    for name in _KEPT:
        app.__dict__.pop(name, None)
    app._local, app.amqp._producer_pool = threading.local(), None
    plain_app.cache_clear()
    try:
        _bind()
        yield
    finally:
        if app._pool is not None:
            app._pool.force_close_all()
        for name, value in before.items():
            app.__dict__.pop(name, None)
            if value is not _ABSENT:
                app.__dict__[name] = value
        app.amqp._producer_pool = producers
        plain_app.cache_clear()
        _forget_module()
        if settings is not None:
            sys.modules[_SETTINGS] = settings


def _bind() -> None:
    """Bind all tasks to the app, also where that has failed before, by a wrong environment.

    It may have: pytest looks at each name of a module, which is the first use of a task.
    """
    for task in app._tasks.values():
        if task.request_stack is None:
            type(task).__bound__ = False
    app.finalize()
    for task in app.tasks.values():
        if task.request_stack is None:
            task.bind(app)


def _forget_module() -> Any:
    """Forget the module that reads the settings for Celery, and return it; None if it was not there
    yet."""
    with suppress(AttributeError):
        delattr(sys.modules["local_llm_service"], "celeryconfig")
    return sys.modules.pop(_SETTINGS, None)
