"""The embedded stack with HTTP before it, for clients in another environment.

`python -m tests.clients.stack` prints the address once everything answers, and ends everything when
its standard input does.
"""

from __future__ import annotations

import sys

from local_llm_service.worker.embedded.processes.http_process import HttpProcess
from local_llm_service.worker.embedded.processes.ports import free_port
from local_llm_service.worker.embedded.processes.stack import Stack


def main() -> None:
    """Run until standard input ends."""
    with Stack() as stack:
        environment = {**stack.environment, "LOCAL_LLM_PORT": str(free_port())}
        with HttpProcess(environment) as http:
            sys.stdout.write(f"{http.url}\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    main()
