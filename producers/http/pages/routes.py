"""The pages' own operations, and the document of all operations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from starlette.responses import Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.pages.assets import asset, page
from local_llm_service.producers.http.pages.openapi import document
from local_llm_service.producers.http.pages.overview import OverviewAnswer, show_overview
from local_llm_service.producers.http.pages.reference import reference_page
from local_llm_service.producers.http.replies import encoded


def with_pages(others: Sequence[Operation]) -> tuple[Operation, ...]:
    """All operations of the service: those of the other rooms, and the pages that show them."""

    @cache
    def openapi(needs_key: bool) -> bytes:
        return encoded(document(everything, version=_version(), needs_key=needs_key))

    @cache
    def reference(needs_key: bool, port: int) -> bytes:
        shown = document(everything, version=_version(), needs_key=needs_key)
        return reference_page(shown, f"http://127.0.0.1:{port}").encode()

    async def show_openapi(call: Call) -> Response:
        """Every operation, for programs."""
        return page(call.request, openapi(await _needs_key(call)), "application/json")

    async def show_reference(call: Call) -> Response:
        """Every operation, for people."""
        port = call.service.settings.local_llm_port
        return page(call.request, reference(await _needs_key(call), port), "text/html")

    own = (
        Operation(
            "GET",
            "/",
            show_page,
            "The page for people: what the service does now, and a form for each kind",
            "pages",
            answers={200: "text/html"},
            public=True,
        ),
        Operation(
            "GET",
            "/docs",
            show_reference,
            "This documentation",
            "pages",
            answers={200: "text/html"},
            public=True,
        ),
        Operation(
            "GET",
            "/openapi.json",
            show_openapi,
            "The OpenAPI document of this service",
            "pages",
            answers={200: "application/json"},
            public=True,
        ),
        Operation(
            "GET",
            "/assets/{name}",
            show_asset,
            "A style, script or picture of the pages",
            "pages",
            answers={200: ("text/css", "text/javascript", "image/svg+xml", "text/html")},
            public=True,
        ),
        Operation(
            "GET",
            "/v1/overview",
            show_overview,
            "What the service does now, with the caller's own jobs",
            "service",
            answers={200: OverviewAnswer},
        ),
    )
    everything = (*others, *own)
    return everything


async def show_page(call: Call) -> Response:
    """The page for people."""
    return asset(call.request, "index.html")


async def show_asset(call: Call) -> Response:
    """One file of the pages. Raises NotFound."""
    return asset(call.request, call.request.path_params["name"])


async def _needs_key(call: Call) -> bool:
    return False


def _version() -> str:
    try:
        return version("local-llm-service")
    except PackageNotFoundError:
        return "unknown"
