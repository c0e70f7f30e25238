"""Runs HTTP on uvicorn: where it listens, in how many processes, and how it ends."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.callers.anonymous import may_be_anonymous
from local_llm_service.producers.http.callers.key_store import has_keys
from local_llm_service.producers.http.gateway import Gateway
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.settings import Settings

FACTORY = "local_llm_service.producers.http.app:make_app"
#: After SIGTERM, replies that are being made may go on for so long.
GRACE_SECONDS = 10


class Server(uvicorn.Server):
    """A server whose endpoints know that it is told to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the waits and streams, then the connections."""
        app = self.config.loaded_app
        if isinstance(app, Gateway):
            app.service.stopping.set()
        await super().shutdown(sockets)


def config_of(settings: Settings, app: Any = FACTORY, workers: int = 1) -> uvicorn.Config:
    """uvicorn's configuration."""
    return uvicorn.Config(
        app,
        host=settings.local_llm_bind,
        port=settings.local_llm_port,
        factory=app is FACTORY,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=65_536,
    )


def serve(settings: Settings, workers: int = 1) -> None:
    """Serve until a signal. Raises InvalidSetting where it may not, or cannot, listen."""
    if not may_be_anonymous(settings):
        check_has_keys(settings)
    webhooks.check_settings(settings)
    config = config_of(settings, workers=workers)
    try:
        sock = config.bind_socket()
    except SystemExit:
        raise InvalidSetting(
            f"LOCAL_LLM_PORT: {settings.local_llm_bind}:{settings.local_llm_port} cannot be bound",
            "Stop what listens there, or choose another port.",
        ) from None
    if workers == 1:
        Server(config).run([sock])
    else:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(config, sockets=[sock]).run()


def check_has_keys(settings: Settings) -> None:
    """Without any API key, HTTP listens on loopback only.

    Raises InvalidSetting, and BrokerUnreachable where nobody can know.
    """
    if not has_keys(settings):
        raise InvalidSetting(
            f"LOCAL_LLM_BIND: {settings.local_llm_bind} is not loopback, and there is no API key",
            "Make one with `local-llm keys add NAME`, or insist with ALLOW_ANONYMOUS=1.",
        )
