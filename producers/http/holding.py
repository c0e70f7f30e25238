"""Says in Redis what this process holds for its callers: their jobs, and their streams."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic

from local_llm_service.producers.http.service import HttpService
from local_llm_service.worker.errors import BrokerUnreachable

logger = logging.getLogger(__name__)

#: All is said again so often; what is new at once.
RENEW_SECONDS = 1.0
#: The process ends: what is new is said in this time, or workers find out.
LAST_SECONDS = 2.0


async def hold_on(service: HttpService) -> None:
    """Say what is held, until it is cancelled."""
    try:
        await _keep_saying(service)
    finally:
        with suppress(BrokerUnreachable, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await service.attendance.send(renew=False)
                await service.open_streams.send()


async def _keep_saying(service: HttpService) -> None:
    changed, renewed_at, is_away = service.attendance.changed, monotonic(), False
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await changed.wait()
        changed.clear()
        is_due = monotonic() - renewed_at >= RENEW_SECONDS
        try:
            await service.attendance.send(renew=is_due)
            await service.open_streams.send()
        except BrokerUnreachable as error:
            if not is_away:
                logger.warning("what callers wait for cannot be renewed: %s", error)
            is_away = True
            await asyncio.sleep(RENEW_SECONDS)
            continue
        is_away = False
        if is_due:
            renewed_at = monotonic()
