"""Loads the function that ROUTER names. What it says is read in tasks/routing/, not here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.settings import Settings

#: It gets a prompt's text, and returns a tasks.routing.complexity.Verdict.
Router = Callable[[str], Any]


def router_of(settings: Settings) -> Router:
    """The function that ROUTER names.

    It is loaded, and tried on an empty text, once. Raises InvalidSetting where it cannot be.
    """
    return _loaded(settings.router)


@lru_cache(maxsize=8)
def _loaded(path: str) -> Router:
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        verdict = function("")
        _ = verdict.is_complex, verdict.score
    except InvalidSetting:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # any module may be named
        kind = type(error).__name__
    else:
        return function  # type: ignore[no-any-return]
    raise InvalidSetting(
        f"setting ROUTER: {path} cannot be used ({kind})",
        "Name a function of one text that returns a Verdict, as `package.module:function`.",
    )
