"""A worker whose `summarize` reads line by line: `python -m tests.doubles.step_worker`."""

from __future__ import annotations

import sys
from pathlib import Path

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess


class StepWorker(WorkerProcess):
    """This module as a child process."""

    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.step_worker", *self.arguments()]


def main() -> int:
    """Put the program in place and become the worker."""
    from local_llm_service.worker.__main__ import main as worker_main
    from tests.doubles.pieces import read_pieces, working_by

    with working_by(read_pieces):
        return worker_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
