"""The open streams of each API key, counted over all replicas.

Each process renews those that it holds (holding.py), so that a dead one's count no more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from time import monotonic
from uuid import uuid4

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.callers.key_ring import rate_limited
from local_llm_service.producers.http.process import Process
from local_llm_service.worker.store.key_bounds import STREAM_SECONDS, KeyBounds

#: As many names in one call of a script, whose arguments Lua has to hold.
AT_ONCE = 500


class OpenStreams:
    """The streams that this process holds."""

    def __init__(self, service: Process, changed: asyncio.Event) -> None:
        self._service, self._changed = service, changed
        self._open: defaultdict[str, set[str]] = defaultdict(set)
        self._closed: defaultdict[str, set[str]] = defaultdict(set)
        self._renewed_at = monotonic()

    async def open(self, caller: Caller) -> str:
        """Count one more stream of a caller, and return its name; "" where nothing bounds them.

        Raises RateLimited, BrokerUnreachable.
        """
        most = caller.streams or self._service.settings.streams_per_key
        if not caller.key_id or not most:
            return ""
        name = uuid4().hex
        bounds = KeyBounds(self._service.store.keys)
        # A stream that was not told to be open, as its reader went away meanwhile, closes by time.
        if not await self._service.drive(bounds.open_stream(caller.key_id, name, most)):
            raise rate_limited(f"{most} streams of this API key are open already", 5)
        self._open[caller.key_id].add(name)
        return name

    def close(self, caller: Caller, name: str, *, quietly: bool = False) -> None:
        """Count it no more. `quietly`: said within a second, and from any thread."""
        if name not in self._open.get(caller.key_id, ()):
            return
        self._open[caller.key_id].discard(name)
        self._closed[caller.key_id].add(name)
        if not quietly:
            self._changed.set()

    async def send(self) -> None:
        """Say which streams are closed, and now and then which are open. Raises BrokerUnreachable;
        then it is still to be said."""
        bounds = KeyBounds(self._service.store.keys)
        for key_id in list(self._closed):
            names = self._closed.pop(key_id)
            try:
                await self._service.drive(bounds.close_streams(key_id, list(names)))
            except BaseException:
                self._closed[key_id] |= names
                raise
        if monotonic() - self._renewed_at < STREAM_SECONDS / 3:
            return
        for key_id in list(self._open):
            held = list(self._open[key_id])
            for start in range(0, len(held), AT_ONCE):
                some = held[start : start + AT_ONCE]
                await self._service.drive(bounds.keep_streams(key_id, some))
            if not self._open[key_id]:
                del self._open[key_id]
        self._renewed_at = monotonic()
