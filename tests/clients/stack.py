"""The embedded stack with HTTP before it, for clients in another environment.

`python -m tests.clients.stack` prints the address once everything answers, and ends everything when
its standard input does.
"""

from __future__ import annotations

import sys

from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.python_process import PythonProcess
from local_llm_service.worker.embedded.processes.stack import Stack


class Http(PythonProcess):
    """`local-llm serve` on a port of its own."""

    name = "http"

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = free_port()
        super().__init__({**environment, "LOCAL_LLM_PORT": str(self.port)})

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "local_llm_service.producers.http"]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        return answers_http(self.port, "/health/live")


def main() -> None:
    """Run until standard input ends."""
    with Stack() as stack, Http(stack.environment) as http:
        sys.stdout.write(f"http://127.0.0.1:{http.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
