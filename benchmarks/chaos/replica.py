"""A process of `local-llm serve` in a chaos case: killed, and started again on its port."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from local_llm_service.worker.embedded.processes.http_process import PORT, HttpProcess
from local_llm_service.worker.embedded.processes.ports import free_port

#: A killed one is away for so long, seconds.
AWAY_SECONDS = 1.0


class Replica(HttpProcess):
    """One replica. It starts, and starts again, at a `tick`, which waits for nothing."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        super().__init__({PORT: str(free_port()), **environment})
        self._given_directory = directory
        self._away_until = 0.0

    def tick(self) -> None:
        """Start it, unless it runs or is to be away."""
        if not self.running and time.monotonic() >= self._away_until:
            self.begin()

    def kill(self) -> None:
        """kill -9; the next tick after a while starts it again."""
        super().kill()
        self._away_until = time.monotonic() + AWAY_SECONDS
