"""A real HTTP server on loopback, in a thread of the test's process, over the fixture local_llm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
import uvloop

from local_llm_service.producers.http.app import make_app
from local_llm_service.producers.http.gateway import Gateway
from local_llm_service.producers.http.server import Server, config_of
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.settings import get_settings
from tests.conftest import wait_until


class HttpSite:
    """One process's HTTP, as its callers see it."""

    def __init__(self, url: str, app: Gateway) -> None:
        self.url, self.app = url, app
        self.client = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self.get, self.post, self.delete = self.client.get, self.client.post, self.client.delete

    def openai(self, **options: Any) -> openai.OpenAI:
        """The official client, unmodified."""
        given = {"api_key": "none", "max_retries": 0, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", **given)


@contextmanager
def http_site() -> Iterator[HttpSite]:
    """HTTP on the settings of this process, on a free port, until the end of the block."""
    settings = get_settings().model_copy(update={"local_llm_port": 0})
    app = make_app()
    server = Server(config_of(settings, app))
    thread = threading.Thread(target=lambda: uvloop.run(server.serve()), name="http")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "HTTP answers")
        port = server.servers[0].sockets[0].getsockname()[1]
        site = HttpSite(f"http://127.0.0.1:{port}", app)
        with site.client:
            yield site
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def http(local_llm: LocalLLM) -> Iterator[HttpSite]:
    """HTTP over the service of `local_llm`, which scripts the model."""
    with http_site() as site:
        yield site
