"""The one room that talks to a model server: `Engine` says how, `ollama` is the engine there is.

Importing it is cheap; the HTTP client is loaded where an engine is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_llm_service.worker.engine.protocol import Engine, EngineDied, Stoppable, TextSink

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings

__all__ = ["Engine", "EngineDied", "Stoppable", "TextSink", "open_engine"]


def open_engine(settings: Settings) -> Engine:
    """The engine that the settings name; it connects at the first call."""
    from local_llm_service.worker.engine.ollama.engine import OllamaEngine

    return OllamaEngine(settings)
