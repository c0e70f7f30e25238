"""Counts what model servers say and no errors.py knows, so that an operator sees a new wording.

Neither the metric nor the log quotes it: the words may repeat a prompt.
"""

from __future__ import annotations

import logging
import threading

from local_llm_service.worker import metrics

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_said: set[tuple[str, int, bool]] = set()


def note(status: int, *, midway: bool, engine: str = "Ollama") -> None:
    """Count an unknown error, and log the first of its status and moment in this process."""
    metrics.UNKNOWN_ERRORS.labels(_kind(status, midway=midway)).inc()
    with _lock:
        new = (engine, status, midway) not in _said
        _said.add((engine, status, midway))
    if new:
        moment = "in the middle of an answer" if midway else f"with status {status}"
        logger.warning(
            "%s reports an error %s in words that this version does not know; its own log has "
            "them. Counted in local_llm_ollama_unknown_errors",
            engine,
            moment,
        )


def _kind(status: int, *, midway: bool) -> str:
    """A label that no caller can make up."""
    if midway:
        return "midway"
    return "refused" if 400 <= status < 500 else "failed"
