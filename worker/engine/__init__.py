"""The one room that talks to a model server: `Engine` says how, `ollama` is the engine there is.

Importing it is cheap; the HTTP client is loaded where an engine is made.
"""

from __future__ import annotations

from functools import lru_cache

from local_llm_service.worker.engine.protocol import Engine, Stoppable, TextSink

__all__ = ["Engine", "Stoppable", "TextSink", "get_engine"]


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """The worker process's engine, made at first use."""
    from local_llm_service.worker.engine.ollama.engine import OllamaEngine
    from local_llm_service.worker.settings import get_settings

    return OllamaEngine(get_settings())
