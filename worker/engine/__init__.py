"""The one room that talks to a model server: `Engine` says how, `ollama` is the engine there is.

Importing it is cheap; the HTTP client is loaded where an engine is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from local_llm_service.worker.engine.protocol import (
    Capabilities,
    Engine,
    EngineDied,
    Stoppable,
    TextSink,
)

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings

__all__ = [
    "Capabilities",
    "Engine",
    "EngineDied",
    "Stoppable",
    "TextSink",
    "engine_instead",
    "open_engine",
]

#: Opens an engine in place of the settings' own, as in a test of a caller's code.
_instead: Callable[[Settings], Engine] | None = None


def engine_instead(
    opener: Callable[[Settings], Engine] | None,
) -> Callable[[Settings], Engine] | None:
    """Let `opener` open engines from now on (None: as the settings say); return what did before."""
    global _instead
    before, _instead = _instead, opener
    return before


def open_engine(settings: Settings) -> Engine:
    """The engine that the settings name; it connects at the first call."""
    if _instead is not None:
        return _instead(settings)
    from local_llm_service.worker.engine.ollama.engine import OllamaEngine

    return OllamaEngine(settings)
