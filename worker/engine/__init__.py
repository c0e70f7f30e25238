"""The one place that talks to a model server: `get_engine().complete(prompt, ...)`.

Only worker processes import it. What comes in is a `worker.prompt.Prompt`, what goes out is a
`Completion` or one of `worker.errors`; nobody above sees HTTP.
"""

from local_llm_service.worker.engine.ollama.engine import Engine, get_engine

__all__ = ["Engine", "get_engine"]
