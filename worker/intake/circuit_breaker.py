"""The breaker in front of Ollama: while Ollama is away, this worker takes no jobs and probes.

Jobs stay in their queues, where workers on other hosts take them. An outage fails no job and uses
up no try.
"""

from __future__ import annotations

import logging
import threading

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_catalog import ModelCatalog

logger = logging.getLogger(__name__)

FIRST_PROBE_SECONDS = 0.2
#: This pause and one probe of at most 3 s: jobs are taken again within 5 s of Ollama's return.
LONGEST_PAUSE_SECONDS = 2.0


class CircuitBreaker:
    """Closes the gate when Ollama is away and opens it when it answers again."""

    def __init__(self, engine: Engine, gate: Gate, catalog: ModelCatalog) -> None:
        self._engine, self._gate, self._catalog = engine, gate, catalog

    def trip(self) -> None:
        """Close the gate until Ollama, which could not be reached, answers. Returns at once."""
        self._catalog.note_away()
        if self._gate.close(Reason.OLLAMA):
            logger.warning("Ollama is away: taking no jobs until it answers")
            threading.Thread(target=self._probe, name="breaker", daemon=True).start()

    def is_away(self) -> bool:
        """Ask Ollama now, and trip if it does not answer."""
        try:
            self._engine.version()
        except ServiceError:
            self.trip()
            return True
        return False

    def _probe(self) -> None:
        pause = FIRST_PROBE_SECONDS
        waiting = threading.Event()
        while not waiting.wait(pause):
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                self._engine.version()
            except Exception as error:  # noqa: BLE001  # the edge of the thread: it must go on
                logger.debug("probe: %s", type(error).__name__)
                continue
            self._gate.open(Reason.OLLAMA)
            logger.info("Ollama answers again: taking jobs")
            return
