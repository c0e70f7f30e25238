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
    from local_llm_service.worker.fleet.fleet import FleetEngine
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
    """The engines that the settings name, as one; each connects at its first call.

    Raises InvalidSetting where ENGINES_FILE is wrong.
    """
    if _instead is not None:
        return _instead(settings)
    from local_llm_service.worker.fleet.fleet import Fleet

    fleet = Fleet.of(settings)
    if settings.engines_file is None:
        return _open_one(fleet.engines[0], settings)
    from local_llm_service.worker.engine.engines import Engines

    return Engines(fleet, lambda entry: _open_one(entry, settings))


def _open_one(entry: FleetEngine, settings: Settings) -> Engine:
    if entry.kind == "openai_compatible":
        from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine

        return OpenAiEngine(entry, settings)
    from local_llm_service.worker.engine.ollama.engine import OllamaEngine

    return OllamaEngine(settings.model_copy(update={"ollama_host": entry.url}))
