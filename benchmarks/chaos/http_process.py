"""A process of `local-llm serve` in a chaos case: killed and started again on its port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local_llm_service.worker.embedded.processes.ports import free_port

ROOT = Path(__file__).parents[2]


@dataclass
class HttpProcess:
    """One replica. A killed one starts again `away_seconds` later, at the next tick."""

    environment: Mapping[str, str]
    log: Path
    away_seconds: float = 1.0
    port: int = field(default_factory=free_port)
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _away_until: float = 0.0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def tick(self) -> None:
        """Start it, unless it runs or is to be away."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if self._process is None and time.monotonic() >= self._away_until:
            self._start()

    def kill(self) -> bool:
        """kill -9; False when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait(10)
        self._away_until = time.monotonic() + self.away_seconds
        return True

    def stop(self) -> None:
        """Kill it for good."""
        self.kill()
        self._process = None

    @property
    def pid(self) -> int:
        """The process that runs now; 0 where none does."""
        return 0 if self._process is None else self._process.pid

    def _start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_llm_service.producers.http"],
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT / "src"),
                    "LOCAL_LLM_PORT": str(self.port),
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
