"""A real HTTP server on loopback, in a thread of the test's process, over the fixture local_llm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvloop
from starlette.requests import Request

from local_llm_service.producers.batch import records
from local_llm_service.producers.http import gateway
from local_llm_service.producers.http.app import make_app
from local_llm_service.producers.http.batches import drive, driving
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.gateway import Gateway
from local_llm_service.producers.http.server import Server, config_of
from local_llm_service.producers.http.webhooks import delivery
from local_llm_service.testing import LocalLLM
from local_llm_service.testing.scripted_run import Scripted
from local_llm_service.worker.errors import StreamBroken
from local_llm_service.worker.settings import get_settings
from tests.doubles.receiver import Receiver, receiver


class HttpSite:
    """One process's HTTP, as its callers see it."""

    def __init__(
        self, url: str, app: Gateway, stop: Callable[[], None], connections: Callable[[], set[Any]]
    ) -> None:
        self.url, self.app, self.stop = url, app, stop
        #: The open connections of the server.
        self.connections = connections
        self.client = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self.get, self.post, self.delete = self.client.get, self.client.post, self.client.delete
        self.closing = ExitStack()

    def openai(self, **options: Any) -> openai.OpenAI:
        """The official client, unmodified."""
        given = {"api_key": "none", "max_retries": 0, **options}
        client = openai.OpenAI(base_url=f"{self.url}/v1", **given)
        return self.closing.enter_context(client)


class _Thread(threading.Thread):
    """Serves until it is told to stop. uvicorn's own loop looks for that ten times a second."""

    def __init__(self, app: Gateway) -> None:
        super().__init__(name="http")
        self.port = 0
        self._app, self._is_up = app, threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self.connections: set[Any] = set()

    def run(self) -> None:
        """Serve."""
        try:
            uvloop.run(self._serve())
        finally:
            self._is_up.set()

    async def _serve(self) -> None:
        settings = get_settings().model_copy(update={"local_llm_port": 0})
        config = config_of(settings, self._app)
        config.load()
        server = Server(config, grace_seconds=0)
        self.connections = server.server_state.connections
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._is_up.set()
        await self._end.wait()
        await server.shutdown()

    def wait_until_started(self) -> int:
        """Return the port."""
        self._is_up.wait(20)
        assert self.port, "HTTP has not started"
        return self.port

    def stop(self) -> None:
        """End, with all connections."""
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self.join(20)
        assert not self.is_alive()


@contextmanager
def http_site() -> Iterator[HttpSite]:
    """HTTP on the settings of this process, on a free port, until the end of the block."""
    app = make_app()
    thread = _Thread(app)
    thread.start()
    try:
        url = f"http://127.0.0.1:{thread.wait_until_started()}"
        site = HttpSite(url, app, thread.stop, lambda: thread.connections)
        with site.client, site.closing:
            yield site
    finally:
        thread.stop()


def break_off(local_llm: LocalLLM, *pieces: str) -> LocalLLM:
    """Let the engine fail after these pieces, slowly enough that a reader has them."""
    step = Scripted(pieces, StreamBroken("scripted by the test"), pause_seconds=0.1)
    return local_llm._add(step, 1).delay(0.1)


def tell_tenants_by_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the header x-tenant say whose a request is, as API keys would."""

    async def authorized(_: Any, request: Request, **__: Any) -> Caller:
        return Caller(request.headers.get("x-tenant"))

    monkeypatch.setattr(gateway, "authorize", authorized)


@pytest.fixture
def files_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FILES_DIR of this test alone, whose batches look and write more often than others."""
    monkeypatch.chdir(tmp_path)
    for module, name in (
        (driving, "CLAIM_SECONDS"),
        (driving, "RENEW_SECONDS"),
        (drive, "LOOK_SECONDS"),
        (records, "GROUP_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.05)
    return tmp_path / "files"


@pytest.fixture
def http(
    local_llm: LocalLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpSite]:
    """HTTP over the service of `local_llm`, which scripts the model; files are the test's own."""
    monkeypatch.chdir(tmp_path)
    with http_site() as site:
        yield site


@pytest.fixture
def told() -> Iterator[Receiver]:
    """A caller's server."""
    with receiver() as server:
        yield server


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other in a moment."""
    monkeypatch.setattr(delivery, "SCHEDULE", (0, 0.02, 0.02, 0.02))
    monkeypatch.setattr(delivery, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "AWAY_SECONDS", 0.02)
