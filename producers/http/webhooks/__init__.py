"""Webhooks: a message to a caller's own server when a job, or a batch, has ended."""

from __future__ import annotations

from local_llm_service.producers.http.service import HttpService
from local_llm_service.producers.http.webhooks.noting import (
    check_target,
    notify,
    notify_at_end,
)

__all__ = ["check_target", "deliver", "notify", "notify_at_end"]


async def deliver(service: HttpService) -> None:
    """Deliver events until cancelled. Without WEBHOOK_SECRET there is nothing to do."""
    if not service.settings.webhook_secret:
        return
    from local_llm_service.producers.http.webhooks.delivery import Deliveries  # loads aiohttp

    await Deliveries(service).run()
