"""One HTTP process's half of webhooks, and how tests read what a receiver was told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import openai
from starlette.requests import Request

from local_llm_service.producers.http.asking import Asked, submit
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.service import HttpService
from local_llm_service.producers.http.webhooks.delivery import Deliveries
from local_llm_service.worker.settings import get_settings
from tests.conftest import wait_until
from tests.doubles.receiver import Got, Receiver

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
SETTINGS = {
    "webhook_secret": f"{SECRET} {OLD_SECRET}",
    "webhook_allow": "127.0.0.1, *.example.com",
}
PROMPT = "Words of a person."


class Site:
    """One HTTP process's half of webhooks, without its server."""

    def __init__(self) -> None:
        self.service = HttpService(get_settings())

    async def ask(
        self, url: str, kind: Any = "job", *, task_id: str | None = None, **more: Any
    ) -> Any:
        """Submit a job with a webhook, as an endpoint does."""
        request = Request({"type": "http", "headers": []})
        call = Call(self.service, request, Caller(), "request")
        asked = Asked("generate", {"prompt": PROMPT, **more})
        return await submit(call, asked, task_id=task_id, webhook=url, event_kind=kind)

    @asynccontextmanager
    async def delivers(self, **more: Any) -> AsyncIterator[None]:
        """Deliver until the end of the block."""
        task = asyncio.create_task(Deliveries(self.service, **more).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def none_waits(self) -> None:
        """Wait until all events are delivered; then nothing is kept of them."""
        store = self.service.store
        kept = f"{store.keys.webhook_event}*"
        await until(lambda: not store.client.keys(kept), "all are delivered")
        assert await self.events() == []

    async def events(self) -> list[Any]:
        """What waits, or was given up."""
        return await self.service.drive(self.service.store.webhooks.events())


def run(test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop of its own."""

    async def main() -> None:
        site = Site()
        await test(site)
        await site.service.close()

    asyncio.run(main())


async def until(condition: Callable[[], object], what: str) -> None:
    """`wait_until` beside what runs in this loop."""
    await asyncio.to_thread(wait_until, condition, what, 5)


def types(told: Receiver) -> list[str]:
    """The types of the events that a receiver got."""
    return [json.loads(got.body)["type"] for got in told.got]


def unwrapped(got: Got, secret: str = SECRET) -> Any:
    """The event as OpenAI's client verifies and reads it."""
    client = openai.OpenAI(api_key="none")
    return client.webhooks.unwrap(got.body, dict(got.headers), secret=secret)
