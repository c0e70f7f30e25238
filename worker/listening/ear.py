"""Hearing any channel, for streams: each payload, and a mark to look again where one may be lost.

A thread's use; in an event loop the same with `await ear.next(...)`:

    with process_listener().hear([channel]) as ear:
        while ...:
            heard = ear.next(timeout_seconds=1)   # a payload (bytes), LOOK, or None: too late
            ear.listen_to([channel, other])       # at any time: other channels from now on
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from time import monotonic
from typing import Final, Generic, Literal

from local_llm_service.worker.listening.patience import Watch, end_of, why_too_late
from local_llm_service.worker.listening.sleepers import ThreadSleeper
from local_llm_service.worker.listening.wait import LONGEST_SLEEP_SECONDS, S
from local_llm_service.worker.store.calls import Calls, Rest, drive


class Look(Enum):
    """The type of LOOK."""

    LOOK = "look"


#: Something may have been published that was not heard: read what the channel tells of anew. Comes
#: once a subscription is confirmed (the first one, after `listen_to`, after Redis was away), with
#: every poll (POLL_SECONDS), and in the place of payloads that came faster than they were taken.
LOOK: Final = Look.LOOK

#: Most payloads that wait for their reader.
PAYLOADS_MOST = 1000

Heard = bytes | Literal[Look.LOOK] | None


class Ear(Generic[S]):
    """One reader's ear. Made by a listener's `hear`, which closes it at the end of its `with`.

    `next` in a thread is `ThreadEar.next`, in an event loop `LoopEar.next`.
    """

    def __init__(
        self, watch: Watch, change: Callable[[Ear[S], set[str], set[str]], None], sleeper: S
    ) -> None:
        self._watch, self._change, self.sleeper = watch, change, sleeper
        self._channels: set[str] = set()
        self._heard: deque[tuple[str, bytes] | Look] = deque()
        self._began, self._seen = monotonic(), False
        #: The channel of the payload that `next` returned last.
        self.channel = ""

    # --- the listener ------------------------------------------------------------------------

    def hears(self, channel: str, payload: bytes) -> None:
        """Hand over a payload."""
        if len(self._heard) >= PAYLOADS_MOST:
            self._heard.clear()
            self._heard.append(LOOK)
        self._heard.append((channel, payload))
        self.sleeper.wake()

    def looks(self) -> None:
        """Redis is there, and something may have been missed."""
        self._seen = True
        if not self._heard or self._heard[-1] is not LOOK:
            self._heard.append(LOOK)
        self.sleeper.wake()

    def redis_is_away(self) -> None:
        """Let the reader decide anew when to give up."""
        self.sleeper.wake()

    # --- the reader --------------------------------------------------------------------------

    def listen_to(self, channels: Iterable[str]) -> None:
        """Hear these channels from now on, and no others. A new one begins with LOOK."""
        wanted = set(channels)
        if not self._channels:
            self._began = monotonic()  # nothing was to be heard before
        fresh, gone, self._channels = wanted - self._channels, self._channels - wanted, wanted
        self._change(self, fresh, gone)

    def hearing(self, timeout_seconds: float | None = None) -> Calls[Heard]:
        """The next payload, LOOK, or None after `timeout_seconds` (None: no limit), as calls.

        Raises BrokerUnreachable when Redis was not reached within 4.5 s since the ear was opened,
        or, once it was, has been away for a minute.
        """
        began = monotonic()
        while True:
            self.sleeper.clear()
            if self._heard:
                heard = self._heard.popleft()
                if isinstance(heard, Look):
                    return heard
                self.channel, payload = heard
                return payload
            now = monotonic()
            give_up = end_of(self._watch, seen=self._seen, began=self._began, timeout=None, now=now)
            if give_up <= now and (why := why_too_late(self._watch, seen=self._seen)):
                raise why
            end = float("inf") if timeout_seconds is None else began + timeout_seconds
            if end <= now:
                return None
            until = min(end, give_up, now + LONGEST_SLEEP_SECONDS)
            yield Rest(self.sleeper, max(0.0, until - now))


class ThreadEar(Ear[ThreadSleeper]):
    """An ear of a thread."""

    def next(self, timeout_seconds: float | None = None) -> Heard:
        """The next payload, LOOK, or None; see `Ear.hearing`."""
        return drive(self.hearing(timeout_seconds), _rest)


def _rest(call: object) -> None:
    if isinstance(call, Rest):
        call.sleeper.sleep(call.seconds)
