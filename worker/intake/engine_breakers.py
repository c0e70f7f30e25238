"""The breakers of a worker's engines: one that is away closes only itself.

Its models leave what this worker takes jobs for (served_models.py), and their jobs wait. The gate
closes only while all engines are away.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.intake.circuit_breaker import CircuitBreaker
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_catalog import ModelCatalog


class EngineBreakers:
    """One breaker for each engine. Threads share them."""

    def __init__(
        self, fleet: Fleet, members: Sequence[Member], gate: Gate, catalog: ModelCatalog
    ) -> None:
        self._fleet, self._gate, self._catalog = fleet, gate, catalog
        self._lock = threading.Lock()
        self._of_engine = {one.name: CircuitBreaker(one, self) for one in members}
        #: Names of the engines that are away.
        self.away: frozenset[str] = frozenset()

    def trip(self, engine: str) -> None:
        """The engine of this name could not be reached; see CircuitBreaker.trip."""
        self._of_engine[engine].trip()

    def is_away(self, model: str) -> bool:
        """Ask the engine of a model, by any of its names, and trip its breaker if it is away."""
        entry = self._fleet.engine_of(self._fleet.own_name(model))
        return self._of_engine[entry.name].is_away()

    def is_reachable(self, engine: str) -> bool:
        """Whether the engine of this name counts as reachable, as far as it is known."""
        return engine not in self.away

    def leaves(self, member: Member) -> bool:
        """See WhoIsAway."""
        with self._lock:  # the catalog, too, knows of the last of the two that happened
            self._catalog.note_away(member.name, is_probed=True)
            is_new = member.name not in self.away
            self.away |= {member.name}
            if len(self.away) == len(self._of_engine):
                self._gate.close(Reason.OLLAMA)
        if is_new and len(self._of_engine) > 1:
            self._catalog.changed.set()
        return is_new

    def returns(self, member: Member) -> None:
        """See WhoIsAway."""
        with self._lock:
            self._catalog.note_back(member.name)
            self.away -= {member.name}
            self._gate.open(Reason.OLLAMA)
        if len(self._of_engine) > 1:
            self._catalog.changed.set()
