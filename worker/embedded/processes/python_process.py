"""A child process that runs a module of this project, importable without an installation."""

import os
from collections.abc import Mapping
from pathlib import Path

from local_llm_service.worker.embedded.processes.child_process import ChildProcess

#: The folder that holds the package: `src` of a checkout, or site-packages.
IMPORT_ROOT = Path(__file__).parents[4]


class PythonProcess(ChildProcess):
    """A child that has this process's environment with `environment` on top.

    `roots` are the folders that its modules are imported from, first of all.
    """

    roots: tuple[Path, ...] = (IMPORT_ROOT,)

    def __init__(
        self,
        environment: Mapping[str, str],
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(directory)
        self._environment = dict(environment)

    def environment(self) -> dict[str, str]:
        """See ChildProcess.environment; `roots` come first in the child's PYTHONPATH."""
        path = os.pathsep.join(
            filter(None, [*map(str, self.roots), os.environ.get("PYTHONPATH", "")])
        )
        return {**os.environ, "PYTHONPATH": path, **self._environment}
