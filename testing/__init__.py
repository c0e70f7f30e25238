"""For the tests of a backend: the service in the test's own process, with a scripted model.

`pip install 'local-llm-service[testing]'` brings a pytest fixture, `local_llm` (plugin.py), which
docs/testing.md shows. Nothing is imported before the fixture is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local_llm_service.testing.local_llm import LocalLLM as LocalLLM
    from local_llm_service.testing.local_llm import SubmittedJob as SubmittedJob
    from local_llm_service.testing.scripted_engine import Asked as Asked

#: Name → its module, for annotations of tests.
_HOMES = {"Asked": "scripted_engine", "LocalLLM": "local_llm", "SubmittedJob": "local_llm"}

__all__ = [*_HOMES]

if not TYPE_CHECKING:  # a type checker that saw it would accept every name

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)
