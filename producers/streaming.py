"""Reading a job's text over Redis, as calls that any driver makes: looks, and what an ear hears.

What they mean to a reader is in text_reader.py. A `Stream` survives what an ear survives: Redis may
be away for a minute, messages may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Generic

import redis

from local_llm_service.producers.result_wait import Site, not_found
from local_llm_service.producers.stream_event import A, StreamEvent
from local_llm_service.producers.text_reader import TextReader
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.listening.ear import LOOK, Ear
from local_llm_service.worker.listening.patience import AWAY_SECONDS
from local_llm_service.worker.listening.wait import GONE_SECONDS
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.connection import unreachable
from local_llm_service.worker.store.texts import TextLook

#: Between two looks at an id that nobody knows, and where Redis refuses a look, or no channel may
#: tell of news.
UNKNOWN_PAUSE_SECONDS, PAUSE_SECONDS = 0.5, 1.0
#: A piece of the text says for so long that no other was lost before it.
FRESH_SECONDS = 1.0


class Stream(Generic[A]):
    """One reading of one job's text. `outcome` reads Celery's result; None: it is none yet."""

    def __init__(
        self,
        site: Site,
        task_id: str,
        outcome: Callable[[str], A | ServiceError | None],
        after: str | None = None,
    ) -> None:
        """Raises InvalidRequest for an `after` that is no offset."""
        self._reader = TextReader[A](after)
        self._site, self._task_id, self._outcome = site, task_id, outcome
        self._fingerprint = ""
        #: Until the next look, should nothing be heard; None: the ear says when.
        self._pause: float | None = None
        self._fresh_until = 0.0
        #: Since when the id is unknown, and since when Redis refuses looks.
        self._unknown_since: float | None = None
        self._refused_since: float | None = None

    @property
    def channels(self) -> set[str]:
        """Where news of the job may come from, as far as is known."""
        keys = self._site.moves.keys
        places = {self._task_id, self._fingerprint} - {""}
        return {keys.announced(self._task_id), *(f"{keys.text_channel}{one}" for one in places)}

    @property
    def has_ended(self) -> bool:
        """Whether the last event was given."""
        return self._reader.has_ended

    def next_events(
        self, ear: Ear[Any], until: float = float("inf")
    ) -> Calls[list[StreamEvent[A]]]:
        """Wait for the next events; none when the monotonic time is `until`.

        `ear` hears the stream's channels. Raises NotFound for an id that nobody knows, and
        BrokerUnreachable as `Ear.hearing`.
        """
        while (left := until - monotonic()) > 0:
            heard = yield from ear.hearing(left if self._pause is None else min(left, self._pause))
            if heard is None and monotonic() >= until:
                break
            if heard is LOOK and monotonic() < self._fresh_until:
                # The text comes. What was lost shows in the next piece, or in silence: a thousand
                # readers do not all look at the same moment, whenever the listener polls.
                self._pause = FRESH_SECONDS
                continue
            events = self._reader.heard(heard) if isinstance(heard, bytes) else None
            if events is None:
                events = yield from self._look(ear)
            else:
                self._fresh_until = monotonic() + FRESH_SECONDS
            if events:
                return events
        return []

    def _look(self, ear: Ear[Any]) -> Calls[list[StreamEvent[A]]]:
        reader = self._reader
        try:
            look = yield from self._site.moves.read_text(
                self._task_id, reader.run, reader.from_bytes
            )
        except redis.RedisError as error:
            self._refused_since = self._refused_since or monotonic()
            if monotonic() - self._refused_since > AWAY_SECONDS:
                raise unreachable(self._site.url, error) from None
            self._pause = PAUSE_SECONDS
            return []
        self._refused_since = None
        if look.is_unknown:
            return self._wait_for_it()
        self._unknown_since = None
        return self._read(look, ear)

    def _wait_for_it(self) -> list[StreamEvent[A]]:
        now = monotonic()
        self._unknown_since = self._unknown_since or now
        if now - self._unknown_since >= GONE_SECONDS:
            raise not_found()
        self._pause = UNKNOWN_PAUSE_SECONDS
        return []

    def _read(self, look: TextLook, ear: Ear[Any]) -> list[StreamEvent[A]]:
        if look.fingerprint != self._fingerprint:
            self._fingerprint = look.fingerprint
            ear.listen_to(self.channels)
        # The channel of a job that was sent by name is known once a worker has read its message.
        is_untold = not look.fingerprint and look.state != "running"
        self._pause = PAUSE_SECONDS if is_untold else None
        return self._reader.looked(look, self._outcome(look.result) if look.has_ended else None)
