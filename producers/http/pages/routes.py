"""The pages' own operations, and the document of all operations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.operations import Endpoint, Operation
from local_llm_service.producers.http.pages.assets import asset, page
from local_llm_service.producers.http.pages.openapi import document
from local_llm_service.producers.http.pages.overview import OverviewAnswer, show_overview
from local_llm_service.producers.http.pages.reference import reference_page
from local_llm_service.producers.http.replies import encoded
from local_llm_service.worker.errors import BrokerUnreachable

LOOK_SECONDS = 0.5


def with_pages(others: Sequence[Operation]) -> tuple[Operation, ...]:
    """All operations of the service: those of the other rooms, and the pages that show them."""
    documents = _Documents()
    overview = "What the service does now, with the caller's own jobs"
    front = [one for one in others if (one.method, one.path) == ("GET", "/")]
    documents.operations = (
        *(one for one in others if one not in front),
        _page("/", _front(*front), "The page for people", "text/html", "text/plain"),
        _page("/docs", documents.show_reference, "This documentation", "text/html"),
        _page("/openapi.json", documents.show_openapi, "The OpenAPI document", "application/json"),
        _page(
            "/assets/{name}",
            show_asset,
            "A style, script or picture of the pages",
            *("text/css", "text/javascript", "image/svg+xml", "text/html"),
        ),
        Operation(
            "GET",
            "/v1/overview",
            show_overview,
            overview,
            "service",
            answers={200: OverviewAnswer},
        ),
    )
    return documents.operations


def _page(path: str, endpoint: Endpoint, summary: str, *media_types: str) -> Operation:
    answers = {200: media_types, 304: None}
    return Operation("GET", path, endpoint, summary, "pages", answers=answers, public=True)


class _Documents:
    """The document of all operations, made at the first request: for programs, and for people."""

    def __init__(self) -> None:
        self.operations: tuple[Operation, ...] = ()
        self._made: dict[object, bytes] = {}

    async def show_openapi(self, call: Call) -> Response:
        """Every operation, for programs."""
        needs_key = await _needs_key(call)
        made = await self._once(needs_key, lambda: encoded(self._document(needs_key)))
        return page(call.request, made, "application/json")

    async def show_reference(self, call: Call) -> Response:
        """Every operation, for people."""
        needs_key, port = await _needs_key(call), call.service.settings.local_llm_port

        def make() -> bytes:
            return reference_page(self._document(needs_key), f"http://127.0.0.1:{port}").encode()

        return page(call.request, await self._once((needs_key, port), make), "text/html")

    def _document(self, needs_key: bool) -> dict[str, Any]:
        return document(self.operations, version=_version(), needs_key=needs_key)

    async def _once(self, name: object, make: Callable[[], bytes]) -> bytes:
        """Make it in a thread: it takes a third of a second, which others would wait."""
        if name not in self._made:
            self._made[name] = await asyncio.to_thread(make)
        return self._made[name]


def _front(*others: Operation) -> Endpoint:
    async def show_page(call: Call) -> Response:
        """The page for browsers; Ollama's clients look here for Ollama's own words."""
        if others and "text/html" not in (call.header("accept") or ""):
            response = await others[0].endpoint(call)
        else:
            response = asset(call.request, "index.html")
        response.headers["Vary"] = "Accept"
        return response

    return show_page


async def show_asset(call: Call) -> Response:
    """One file of the pages. Raises NotFound."""
    return asset(call.request, call.request.path_params["name"])


async def _needs_key(call: Call) -> bool:
    """Whether this service has keys; the pages do not wait for a Redis that is away."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await call.service.key_ring.needs_key()
    except (TimeoutError, BrokerUnreachable):
        return True


def _version() -> str:
    try:
        return version("local-llm-service")
    except PackageNotFoundError:
        return "unknown"
