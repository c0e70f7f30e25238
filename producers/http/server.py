"""Runs HTTP on uvicorn: where it listens, in how many processes, and how it ends."""

from __future__ import annotations

import asyncio
import importlib
import logging
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.bounded_connection import BoundedConnection
from local_llm_service.producers.http.callers.anonymous import may_be_anonymous
from local_llm_service.producers.http.callers.key_store import has_keys
from local_llm_service.producers.http.gateway import Gateway
from local_llm_service.producers.http.processes import Processes
from local_llm_service.worker.errors import BrokerUnreachable, InvalidSetting
from local_llm_service.worker.log_lines import quote_log_lines
from local_llm_service.worker.log_output import unblock_output
from local_llm_service.worker.settings import Settings

FACTORY = "local_llm_service.producers.http.app:make_app"
#: After SIGTERM, calls that wait and streams may go on for so long; then they are told that their
#: jobs go on, and have LAST_SECONDS to hear it. `docker stop` kills after 10 s.
GRACE_SECONDS, LAST_SECONDS = 6.0, 2
#: The bounds of connections are looked at so often.
LOOK_SECONDS = 1.0
BACKLOG = 2048


class Server(uvicorn.Server):
    """A server whose endpoints know that it is told to end.

    `watched` is a pipe whose other end the parent process holds. A child of such a parent ends by
    SIGTERM or with its parent; any other server ends at once by a second signal.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        grace_seconds: float = GRACE_SECONDS,
        watched: int | None = None,
    ) -> None:
        super().__init__(config)
        self._grace_seconds, self._watched = grace_seconds, watched
        self._looking: asyncio.Task[None] | None = None
        self.told: list[int] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and begin to look at the connections."""
        await super().startup(sockets)
        self._looking = asyncio.create_task(self._look())
        if self._watched is not None:
            asyncio.get_running_loop().add_reader(self._watched, self._parent_has_gone)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let replies end, then tell those who still wait."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        last = loop.time() + self._grace_seconds
        while self.server_state.tasks and loop.time() < last and not self.force_exit:
            await asyncio.sleep(0.05)
        app = self.config.loaded_app
        if isinstance(app, Gateway):
            app.service.stopping.set()
        if self._looking is not None:
            self._looking.cancel()
        await super().shutdown(sockets)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedConnection):
                    connection.look(loop.time(), LOOK_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear signals while it serves. uvicorn's own would raise them again at the end."""
        numbers = [signal.SIGTERM, signal.SIGHUP]
        if self._watched is None:
            numbers.append(signal.SIGINT)
        before = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _: Any) -> None:
        # One signal may reach a child twice: from its parent, and with the parent from systemd.
        self.force_exit = self.should_exit and self._watched is None
        self.should_exit = True
        self.told.append(number)

    def _parent_has_gone(self) -> None:
        assert self._watched is not None
        asyncio.get_running_loop().remove_reader(self._watched)
        self.should_exit = True


def config_of(settings: Settings, app: Any = FACTORY) -> uvicorn.Config:
    """uvicorn's configuration."""
    return uvicorn.Config(
        app,
        host=settings.local_llm_bind,
        port=settings.local_llm_port,
        factory=app is FACTORY,
        loop="uvloop",
        http=BoundedConnection,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        log_level="error",  # its warnings are of what strangers send
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


def listening(settings: Settings) -> socket.socket:
    """The socket of this process and its children.

    Raises InvalidSetting where it may not, or cannot, listen, and BrokerUnreachable.
    """
    if not may_be_anonymous(settings):
        check_has_keys(settings)
    webhooks.check_settings(settings)
    return listen(settings.local_llm_bind, settings.local_llm_port)


def serve(settings: Settings, sock: socket.socket, workers: int = 1) -> int:
    """Serve until a signal, and return its number."""
    _take_files()
    quote_log_lines()
    unblock_output()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    if workers == 1:
        server = Server(config_of(settings))
        server.run([sock])
        return server.told[0] if server.told else signal.SIGTERM
    importlib.import_module(FACTORY.partition(":")[0])  # once, and not in each process

    def serve_one(watched: int) -> None:
        Server(config_of(settings), watched=watched).run([sock])

    return Processes(workers, serve_one, GRACE_SECONDS + LAST_SECONDS + 1.5).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; on `::` for IPv4, too. Raises InvalidSetting."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        if family is socket.AF_INET6:
            listening = socket.create_server(
                (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::"
            )
        else:
            listening = socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise InvalidSetting(
            f"LOCAL_LLM_BIND, LOCAL_LLM_PORT: cannot listen at {address(host, port)}: "
            f"{error.strerror}",
            "Stop what listens there, or choose another port or address.",
        ) from None
    listening.setblocking(False)
    return listening


def address(host: str, port: int) -> str:
    """Host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _take_files() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def who_may_call(settings: Settings) -> str:
    """What an operator should know of a service without API keys; empty where there are some."""
    with suppress(BrokerUnreachable):
        if not has_keys(settings):
            who = "all who reach it" if settings.allow_anonymous else "all on this machine"
            return f"There is no API key: {who} may call it. `local-llm keys add NAME` makes one."
    return ""


def check_has_keys(settings: Settings) -> None:
    """Without any API key, HTTP listens on loopback only.

    Raises InvalidSetting, and BrokerUnreachable where nobody can know.
    """
    if not has_keys(settings):
        raise InvalidSetting(
            f"LOCAL_LLM_BIND: {settings.local_llm_bind} is not loopback, and there is no API key",
            "Make one with `local-llm keys add NAME`, or insist with ALLOW_ANONYMOUS=1.",
        )
