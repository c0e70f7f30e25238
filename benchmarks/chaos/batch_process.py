"""The process of `local-llm batch` in a chaos case: started again as often as it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class BatchProcess:
    """One command. `tick()` starts it again until it has ended by itself with `done_with`."""

    words: list[str]
    log: Path
    environment: dict[str, str]
    done_with: frozenset[int] = frozenset({0, 1})
    starts: int = 0
    exits: list[int] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def is_done(self) -> bool:
        """Whether it ended by itself with all lines ended."""
        return bool(self.exits) and self.exits[-1] in self.done_with

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._process is None else self._process.pid

    def tick(self) -> None:
        """Note an end; start it, if it has to go on."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            self.exits.append(code)
        if not self.is_done:
            self._start()

    def kill(self) -> bool:
        """kill -9; False when it does not run. The next tick starts it again."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait(10)
        return True

    def stop(self) -> None:
        """Kill it for good."""
        self.kill()
        self._process = None

    def _start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts} at {time.monotonic():.3f}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_llm_service.producers", *self.words],
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
