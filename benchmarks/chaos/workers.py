"""Worker processes under a small supervisor that restarts, kills by pid and records each death.

Nothing here runs by itself: `Supervisor.tick()` is called from the main thread, because a child
dies with the thread that started it (see worker/embedded/die_with_parent.py).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

#: Returns further environment for one life of the worker with this number.
Extra = Callable[[int], Mapping[str, str]]


@dataclass(frozen=True)
class Death:
    """A worker process's end at `at` (monotonic seconds); `how`: "kill", "exit <code>", a point."""

    worker: int
    at: float
    how: str


class ChaosWorker(WorkerProcess):
    """One worker with a fixed number and name; starting it does not wait until it is ready."""

    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def __init__(self, number: int, environment: Mapping[str, str], directory: Path) -> None:
        super().__init__(environment)
        self._given_directory = directory
        self.number = number
        self.wanted = False

    @property
    def worker_name(self) -> str:
        """The name, the same in each life, like that of a restarted container."""
        return f"llm-chaos-{self.number}@localhost"

    def command(self) -> list[str]:
        """The faulty entry point, which equals the worker's own when no fault is requested."""
        return [sys.executable, "-m", "benchmarks.chaos.faulty_worker", *self.arguments()]

    def spawn(self, extra: Mapping[str, str]) -> None:
        """Start the process and return at once."""
        self.wanted = True
        kept = dict(self._environment)
        self._environment.update(extra)
        self._spawn()
        self._environment = kept

    def signal(self, number: signal.Signals) -> None:
        """Send one signal to this worker's pid."""
        if self._process is not None:
            self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """The exit code; None while the worker runs."""
        return self._process.poll() if self._process is not None else None

    def forget(self) -> None:
        """Forget the process that has ended, as if it had never been started."""
        self._process = None


class Supervisor:
    """Keeps the wanted workers running."""

    def __init__(self, workers: list[ChaosWorker], extra: Extra = lambda _: {}) -> None:
        self.workers = workers
        self.deaths: list[Death] = []
        self.extra = extra
        self._killed: dict[int, float] = {}

    def start(self, *numbers: int) -> None:
        """Start these workers and wait until each has published itself."""
        for number in numbers:
            self.workers[number].spawn(self.extra(number))
        for number in numbers:
            self.workers[number]._wait_until_ready()

    def kill(self, number: int) -> None:
        """Kill a worker with SIGKILL; the next tick starts it again."""
        self._killed[number] = time.monotonic()
        self.workers[number].signal(signal.SIGKILL)

    def terminate(self, number: int) -> None:
        """Send SIGTERM to a worker; it is not started again."""
        self.workers[number].wanted = False
        self.workers[number].signal(signal.SIGTERM)

    def tick(self) -> None:
        """Record each death and restart the workers that are wanted."""
        for worker in self.workers:
            code = worker.exit_code()
            if code is None:
                continue
            worker.forget()
            killed = self._killed.pop(worker.number, None)
            how = "kill" if killed is not None else f"exit {code}"
            self.deaths.append(Death(worker.number, killed or time.monotonic(), how))
            if worker.wanted:
                worker.spawn(self.extra(worker.number))

    def stop(self) -> None:
        """Kill all workers: nothing that they run is needed any more."""
        for worker in self.workers:
            worker.wanted = False
            worker.kill()
