"""One file per case; each has `run(redis_port, short) -> Outcome`."""

from __future__ import annotations

from importlib import import_module

from benchmarks.chaos.report import Outcome

_FILES = {"redis": "redis_away", "ollama": "ollama_away", "real": "cancel_real"}


def run(case: str, *, redis_port: int, short: bool) -> Outcome:
    """Run one case by its name. All its processes have ended when this returns or raises."""
    module = import_module(f"{__name__}.{_FILES.get(case, case)}")
    outcome: Outcome = module.run(redis_port=redis_port, short=short)
    return outcome
