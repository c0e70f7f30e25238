"""The HTTP service as a child process."""

import os
import sys
from collections.abc import Mapping

from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.python_process import PythonProcess

#: The variable that names its port.
PORT = "LOCAL_LLM_PORT"


class HttpProcess(PythonProcess):
    """`local-llm serve` on 127.0.0.1; started once it answers.

    Its port is that of LOCAL_LLM_PORT in `environment`, or in this process's; else the `preferred`
    one if nobody holds it, else a free one.
    """

    name = "http"

    def __init__(
        self, environment: Mapping[str, str], *, workers: int = 1, preferred: int = 0
    ) -> None:
        given = {**os.environ, **environment}.get(PORT, "")
        self.port = int(given) if given.isdigit() and int(given) else free_port(preferred)
        self._workers = workers
        super().__init__({**environment, PORT: str(self.port)})

    @property
    def url(self) -> str:
        """The address for `curl` and for clients."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        program = [sys.executable, "-m", "local_llm_service.producers.http"]
        return [*program, "--workers", str(self._workers)]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        return answers_http(self.port, "/health/live")
