"""The breaker in front of an engine: while it is away, this worker takes no jobs for it and probes.

Jobs stay in their queues, where workers on other hosts take them. An outage fails no job and uses
up no try. Each engine has a breaker of its own (engine_breakers.py).
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.errors import OllamaBusy, ServiceError

logger = logging.getLogger(__name__)

FIRST_PROBE_SECONDS = 0.2
#: This pause and one probe of at most 3 s: jobs are taken again within 5 s of an engine's return.
LONGEST_PAUSE_SECONDS = 2.0
#: The same for what leaves the house: who sells answers may count probes, too.
LONGEST_PAUSE_ELSEWHERE_SECONDS = 30.0


class WhoIsAway(Protocol):
    """Where a breaker says that its engine is away, and that it is back."""

    def leaves(self, member: Member) -> bool:
        """The engine is away; True if that is new."""

    def returns(self, member: Member) -> None:
        """The engine answers again."""


class CircuitBreaker:
    """Tells when one engine is away, and when it answers again."""

    def __init__(self, member: Member, away: WhoIsAway) -> None:
        self.member, self._away = member, away

    def trip(self) -> None:
        """Take no jobs for the engine, which could not be reached, until it answers. Returns at
        once."""
        self.member.forget()
        if self._away.leaves(self.member):
            logger.warning("%s is away: taking no jobs for it until it answers", self._name)
            threading.Thread(target=self._probe, name="breaker", daemon=True).start()

    def is_away(self) -> bool:
        """Ask the engine now, and trip if it does not answer. One that is busy answers."""
        try:
            self.member.engine.version()
        except OllamaBusy:
            return False
        except ServiceError:
            self.trip()
            return True
        return False

    @property
    def _name(self) -> str:
        return "Ollama" if self.member.entry.kind == "ollama" else f"engine {self.member.name!r}"

    def _probe(self) -> None:
        pause = FIRST_PROBE_SECONDS
        leaves = self.member.entry.leaves_the_house
        longest = LONGEST_PAUSE_ELSEWHERE_SECONDS if leaves else LONGEST_PAUSE_SECONDS
        waiting = threading.Event()
        while not waiting.wait(pause):
            pause = min(pause * 2, longest)
            try:
                self.member.engine.version()
            except Exception as error:  # noqa: BLE001  # the edge of the thread: it must go on
                logger.debug("probe: %s", type(error).__name__)
                continue
            self._away.returns(self.member)
            logger.info("%s answers again: taking jobs", self._name)
            return
