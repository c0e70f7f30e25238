"""The embedded stack with HTTP before it, for clients in another environment.

`python -m tests.clients.stack` prints the address once everything answers, and ends everything when
its standard input does.
"""

from __future__ import annotations

import sys

from local_llm_service.worker.embedded.processes.stack import Stack


def main() -> None:
    """Run until standard input ends."""
    with Stack() as stack:
        assert stack.http is not None
        sys.stdout.write(f"{stack.http.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
