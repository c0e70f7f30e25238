"""Puts one HTTP process together: the operations of all rooms, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Router

from local_llm_service.producers.http import (
    batches,
    first_routes,
    health,
    jobs,
    ollama,
    openai,
    usage_routes,
    webhooks,
)
from local_llm_service.producers.http.gateway import Gateway, NoPathApp, routes_of
from local_llm_service.producers.http.holding import hold_on
from local_llm_service.producers.http.openai import responses_compact, responses_routes
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.pages.routes import with_pages
from local_llm_service.producers.http.service import HttpService
from local_llm_service.tasks.outcome import place_of
from local_llm_service.worker.fleet.prices import compared
from local_llm_service.worker.lazy_settings import lazy_settings

logger = logging.getLogger(__name__)

OPERATIONS: tuple[Operation, ...] = (
    *first_routes.OPERATIONS,
    *health.OPERATIONS,
    *usage_routes.OPERATIONS,
    *jobs.OPERATIONS,
    *openai.OPERATIONS,
    *responses_routes.OPERATIONS,
    *responses_compact.OPERATIONS,
    *batches.OPERATIONS,
    *ollama.OPERATIONS,
)

#: What runs as long as the process does. Each bears that Redis is away, and ends when cancelled.
BACKGROUND: tuple[Callable[[HttpService], Awaitable[None]], ...] = (
    hold_on,
    webhooks.deliver,
    batches.drive_batches,
)

# The pages show all of them.
OPERATIONS = with_pages(OPERATIONS)


def make_app() -> Gateway:
    """The ASGI application on this process's settings. Raises InvalidSetting."""
    service = HttpService(lazy_settings())
    webhooks.check_settings(service.settings)
    compared(service.settings.compare_model, service.settings.prices_file)

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(_guarded(run, service)) for run in BACKGROUND]
        try:
            yield
        finally:
            service.stopping.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await service.close()

    router = Router(
        routes_of(service, OPERATIONS),
        redirect_slashes=False,
        default=NoPathApp(OPERATIONS),
        lifespan=life,
    )
    return Gateway(router, service)


async def _guarded(run: Callable[[HttpService], Awaitable[None]], service: HttpService) -> None:
    """Start it again should it ever fail: nobody else would."""
    while True:
        try:
            await run(service)
            return
        except Exception as error:  # noqa: BLE001  # an edge
            logger.error("%s failed: %s", run.__name__, place_of(error))
            await asyncio.sleep(1)
