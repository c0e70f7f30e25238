"""A message-queue worker service for language models on your own hardware.

>>> from local_llm_service import summarize
>>> summarize.delay(context="A long text ...", max_summary_tokens=60).get(timeout=60)["summary"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local_llm_service.producers.async_client import AsyncClient as AsyncClient
    from local_llm_service.producers.async_client import AsyncJob as AsyncJob
    from local_llm_service.producers.client import Client as Client
    from local_llm_service.producers.client import Job as Job
    from local_llm_service.producers.first_api import LocalLLMService as LocalLLMService
    from local_llm_service.producers.schema_lint import lint_schema as lint_schema
    from local_llm_service.producers.stream_event import StreamEvent as StreamEvent
    from local_llm_service.tasks import chat as chat
    from local_llm_service.tasks import compress as compress
    from local_llm_service.tasks import embed as embed
    from local_llm_service.tasks import extract_parameters as extract_parameters
    from local_llm_service.tasks import generate as generate
    from local_llm_service.tasks import structured_output as structured_output
    from local_llm_service.tasks import summarize as summarize

#: Name → its module, imported at first use: a worker does not need the client.
_HOMES = {
    **dict.fromkeys(("AsyncClient", "AsyncJob"), "producers.async_client"),
    **dict.fromkeys(("Client", "Job"), "producers.client"),
    "LocalLLMService": "producers.first_api",
    "StreamEvent": "producers.stream_event",
    "lint_schema": "producers.schema_lint",
    **dict.fromkeys(
        (
            "chat",
            "compress",
            "embed",
            "extract_parameters",
            "generate",
            "structured_output",
            "summarize",
        ),
        "tasks",
    ),
}

__all__ = [*_HOMES]

if not TYPE_CHECKING:  # a type checker that saw it would accept every name

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)
