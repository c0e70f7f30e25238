"""How many jobs an API key has at once, over all replicas: what has no result yet counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.callers.key_ring import rate_limited
from local_llm_service.producers.http.process import Process
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.store.key_bounds import KeyBounds


@asynccontextmanager
async def counted(service: Process, caller: Caller, task_id: str) -> AsyncIterator[None]:
    """The job counts among its key's from here on; not where its submit raises.

    Where the key has all its jobs already, and the caller of one of them has gone away, the new
    job takes its place: a client that timed out, and asks again, is not held up by itself. The old
    one is cancelled only when the new one is queued, so that the same question goes on.

    Raises RateLimited, BrokerUnreachable.
    """
    if not caller.concurrency:
        yield
        return
    bounds = KeyBounds(service.store.keys)
    place = await service.drive(bounds.admit_job(caller.key_id, task_id, caller.concurrency))
    if not place.is_free:
        raise rate_limited(f"{caller.concurrency} jobs of this API key have no result yet", 1)
    try:
        yield
    except BaseException:
        if place.is_new:
            with suppress(ServiceError):
                await service.drive(bounds.forget_job(caller.key_id, task_id))
        raise
    if place.instead_of:
        with suppress(ServiceError):  # workers do it a little later
            await service.client.job(place.instead_of).cancel()
