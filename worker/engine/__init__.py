"""The one place that talks to a model server.

Only worker processes import it. What comes in is a `worker.prompt.Prompt`, what goes out is a
`Completion` or one of `worker.errors`; nobody above sees HTTP.
"""

from __future__ import annotations

from local_llm_service.worker.engine.ollama.engine import Engine
from local_llm_service.worker.settings import Settings

__all__ = ["Engine", "open_engine"]


def open_engine(settings: Settings) -> Engine:
    """The engine that the settings name; connects at the first call."""
    return Engine(settings)
