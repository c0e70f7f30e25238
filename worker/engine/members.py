"""One engine of several: what it says of itself, and how often it is asked.

What leaves the house may cost money and has limits of calls, so it is asked seldom.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from local_llm_service.worker.engine.protocol import Engine
from local_llm_service.worker.engine.slots import EngineSlots
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.parts import FleetEngine
from local_llm_service.worker.prompt import Model

#: How long what an engine elsewhere has said of itself holds.
ELSEWHERE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine says of itself: its version, and the models that jobs may ask it for."""

    version: str
    models: tuple[Model, ...]
    notes: tuple[str, ...]


class Member:
    """An engine with its entry in the fleet. Threads share it.

    `others` are the full names of models that other engines list: it is not asked for these.
    """

    def __init__(
        self, entry: FleetEngine, engine: Engine, others: frozenset[str] = frozenset()
    ) -> None:
        self.entry, self.engine, self._others = entry, engine, others
        self.slots = EngineSlots(entry, lambda: engine.occupied)
        self._lock = threading.Lock()
        self._said: Said | None = None
        self._said_at = 0.0
        #: What it said at the last look; None where it did not answer that.
        self.version: str | None = None

    @property
    def name(self) -> str:
        """Its name in the fleet."""
        return self.entry.name

    def look(self, *, fresh: bool = False) -> Said:
        """What the engine says now; of one elsewhere, what it said within ELSEWHERE_SECONDS.

        `fresh`: ask it whatever it said before. Raises OllamaUnreachable or another ServiceError
        within a few seconds.
        """
        with self._lock:
            is_known = time.monotonic() - self._said_at < ELSEWHERE_SECONDS
            if self._said is not None and is_known and self.entry.leaves_the_house and not fresh:
                return self._said
        self.version = None
        self.version = version = self.engine.version()
        said = Said(version, tuple(self.models()), tuple(self.engine.notes()))
        with self._lock:
            self._said, self._said_at = said, time.monotonic()
        return said

    @property
    def last_said(self) -> Said | None:
        """What it said last, however long ago; None where it never did, or has failed since."""
        return self._said

    def forget(self) -> None:
        """It has failed a call: what it said before may not hold."""
        with self._lock:
            self._said = None

    def known_models(self) -> list[Model]:
        """Its models now; those of an engine elsewhere as it last told them. Raises as `look`."""
        if not self.entry.leaves_the_house:
            return self.models()
        said = self._said
        return list((said or self.look()).models)

    def models(self) -> list[Model]:
        """Those of its models that jobs may ask it for, with what the fleet says of them."""
        there = self.engine.models()
        if not self.entry.models:
            return [one for one in there if full_name(one.name) not in self._others]
        found = []
        for one in there:
            listed = self.entry.model(one.name)
            if listed is not None and full_name(listed.name) == full_name(one.name):
                context_tokens = listed.context_tokens or one.context_tokens
                found.append(replace(one, context_tokens=context_tokens))
        return found
