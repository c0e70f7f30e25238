"""A worker that dies while it does what follows a job's result.

DIE_AT names the point; it dies there the first time that it gets there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

#: The points, in the order in which a chord's last part passes them.
POINTS = ("settled", "taken", "claimed", "called", "counted", "copied")


class DyingWorker(WorkerProcess):
    """Its process; `point` is one of POINTS."""

    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def __init__(self, environment: dict[str, str], point: str) -> None:
        super().__init__({**environment, "DIE_AT": point})

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.dying_worker", *self.arguments()]

    def has_died(self) -> bool:
        """Whether it has got to its point."""
        return not self.running


def die(*_: Any, **__: Any) -> None:
    """Kill this process at once, as a loss of power does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def fault(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if found or found is None:
            die()
        return found

    setattr(owner, name, fault)


def main(point: str) -> int:
    """Put the fault in place and become the worker."""
    from local_llm_service.worker.__main__ import main as worker_main
    from local_llm_service.worker.celery_ext import afterwork, chords, plain_app
    from local_llm_service.worker.store.afterwork import Afterwork

    if point == "settled":  # before anything of it is begun
        afterwork.AfterworkThread.do_all = lambda _: None  # type: ignore[method-assign]
        afterwork.AfterworkThread.nudge = die  # type: ignore[method-assign,assignment]
    elif point == "taken":
        _after(Afterwork, "take_afterwork")
    elif point == "claimed":  # the call of the body is this worker's alone
        chords._call_body = die
    elif point == "called":  # and nobody knows that it was
        _after(chords, "_call_body")
    elif point == "counted":
        Afterwork.end_afterwork = die  # type: ignore[method-assign,assignment]
    elif point == "copied":
        _after(plain_app, "store")
    return worker_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main(os.environ["DIE_AT"]))
