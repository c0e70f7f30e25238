"""What one process knows of API keys, and the caller that a request's key makes it.

Nothing of a key is remembered: each request looks its key up, in one round trip that also counts
the request, so that a revocation holds from the next request on.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from time import monotonic

from local_llm_service.producers.http.callers.anonymous import may_be_anonymous
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.callers.key_file import KeyFile
from local_llm_service.producers.http.process import Process
from local_llm_service.worker.errors import RateLimited, Unauthorized
from local_llm_service.worker.store.api_keys import ApiKey, ApiKeys, parts_of

ANONYMOUS = Caller()
#: Whether there are keys is known at most so late.
LOOK_SECONDS = 1.0
#: A record that no secret opens, for an id that a file does not hold: asked all the same, so that
#: the time does not tell.
_NOBODY = "{}"


class KeyRing:
    """One process's look at the keys, in its event loop."""

    def __init__(self, service: Process) -> None:
        settings = service.settings
        self._service = service
        self._file = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        #: Never again anonymous: a Redis that has lost its keys opens no door.
        self._is_closed = self._file is not None or not may_be_anonymous(settings)
        self._look: asyncio.Task[bool] | None = None
        self._open_until = 0.0

    async def caller_of(self, text: str | None) -> Caller:
        """The caller of a request with this key (None: without one).

        While nobody has made a key, and the process may serve anybody, each request is anonymous,
        whatever key it has: clients insist on sending one. Raises Unauthorized, RateLimited, and
        BrokerUnreachable where nobody can know.
        """
        parts = None if text is None else parts_of(text)
        if parts is None:
            return await self._anonymous()
        key_id, secret = parts
        record = "" if self._file is None else self._file.last_records().get(key_id, _NOBODY)
        keys = ApiKeys(self._service.store.keys)
        checked = await self._service.drive(keys.check_api_key(key_id, secret, record))
        caller = caller_from(checked.record) if checked.record else None
        if caller is None:
            return await self._anonymous()
        self._is_closed = True
        if checked.wait_seconds > 0:
            raise rate_limited("the rate of this API key is used up", checked.wait_seconds)
        return caller

    async def needs_key(self) -> bool:
        """Whether a request needs a key. Raises BrokerUnreachable where nobody can know."""
        return not await self._is_open()

    async def _anonymous(self) -> Caller:
        if not await self._is_open():
            raise Unauthorized("an API key is needed, and none that holds was sent")
        return ANONYMOUS

    async def _is_open(self) -> bool:
        if self._is_closed:
            return False
        if monotonic() < self._open_until:
            return True
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._has_no_keys())
        return await asyncio.shield(self._look)

    async def _has_no_keys(self) -> bool:
        asked_at = monotonic()
        if await self._service.drive(ApiKeys(self._service.store.keys).count()) > 0:
            self._is_closed = True
            return False
        self._open_until = asked_at + LOOK_SECONDS
        return not self._is_closed


@lru_cache(maxsize=1024)
def caller_from(record: str) -> Caller | None:
    """The caller that a key's record stands for; None for a record that cannot be read."""
    key = ApiKey.of(record)
    if key is None:
        return None
    return Caller(key.tenant, key.key_id, key.ceiling, key.concurrency, key.streams, key.keep_local)


def rate_limited(message: str, retry_after_seconds: float) -> RateLimited:
    """The error for a key that has had its share, and when it has the next."""
    error = RateLimited(message)
    error.retry_after_seconds = retry_after_seconds
    return error
