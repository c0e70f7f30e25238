"""A worker in which work outside the engine hangs: `python -m tests.doubles.hanging_worker`.

Reading an answer that contains HANG never ends, which no signal, cancel or deadline can change. The
graces after which the worker helps itself are a second each.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

HANG = "HANG"


class HangingWorker(WorkerProcess):
    """This module as a child process."""

    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.hanging_worker", *self.arguments()]


def main() -> int:
    """Put the fault in place and become the worker."""
    from local_llm_service.tasks import outcome
    from local_llm_service.worker.__main__ import main as worker_main
    from local_llm_service.worker.lease import drain, overdue

    overdue.GRACE_SECONDS = drain.LATE_SECONDS = 1.0
    compose = outcome._compose

    def hang(job: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if HANG in str(fields):
            threading.Event().wait()
        return compose(job, fields, *args, **kwargs)

    outcome._compose = hang
    return worker_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
