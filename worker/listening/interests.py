"""Who waits for what in one process or event loop, and what a reply of Redis means to them.

Pure: a listener sends what is to be subscribed, and hands the replies in. Threads share it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from local_llm_service.worker.listening.ear import Ear
from local_llm_service.worker.listening.wait import Wait
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import Seen

#: Most channels or keys in one command.
BATCH = 500


class Interests:
    """The waits and ears of one listener. Names are channels, unless they say ids."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lock = threading.Lock()
        self._waits: dict[str, list[Wait[Any]]] = {}
        self._ears: dict[str, list[Ear[Any]]] = {}
        #: What Redis was asked to tell.
        self._subscribed: set[str] = set()
        #: Channels for which a wait or an ear has begun since `subscriptions` was called.
        self._begun: set[str] = set()

    # --- callers -----------------------------------------------------------------------------

    def begin(self, wait: Wait[Any]) -> None:
        """Serve a wait from now on."""
        with self._lock:
            for channel in map(self._keys.announced, wait.missing):
                self._waits.setdefault(channel, []).append(wait)
                self._begun.add(channel)

    def look_at(self, task_id: str) -> None:
        """Let a job be looked at again: see `subscriptions`."""
        with self._lock:
            self._begun.add(self._keys.announced(task_id))

    def end(self, wait: Wait[Any], task_ids: Iterable[str]) -> None:
        """Serve a wait, which began for these ids, no longer."""
        with self._lock:
            for channel in map(self._keys.announced, task_ids):
                _take_out(self._waits, channel, wait)

    def change(self, ear: Ear[Any], fresh: set[str], gone: set[str]) -> None:
        """Let an ear hear these channels from now on, and those no longer."""
        with self._lock:
            for channel in fresh:
                self._ears.setdefault(channel, []).append(ear)
            self._begun |= fresh
            for channel in gone:
                _take_out(self._ears, channel, ear)

    # --- the listener ------------------------------------------------------------------------

    @property
    def are_none(self) -> bool:
        """Whether nobody wants anything."""
        return not (self._waits or self._ears)

    def forget_subscriptions(self) -> None:
        """The connection is another one: nothing is subscribed."""
        self._subscribed = set()

    def subscriptions(self) -> tuple[list[tuple[str, list[str]]], set[str]]:
        """Commands that let Redis tell what somebody wants now, and nothing else; and the channels
        that are to be looked at at once, as one more has begun to want them.

        What is new is looked at when Redis confirms that it will tell of it: see `read`.
        """
        with self._lock:
            wanted, begun = self._waits.keys() | self._ears.keys(), self._begun
            self._begun = set()
        fresh, gone = wanted - self._subscribed, self._subscribed - wanted
        commands = []
        for command, channels in (("SUBSCRIBE", sorted(fresh)), ("UNSUBSCRIBE", sorted(gone))):
            for start in range(0, len(channels), BATCH):
                commands.append((command, channels[start : start + BATCH]))
        self._subscribed = wanted
        return commands, (begun - fresh) & wanted

    def all_channels(self) -> set[str]:
        """All that somebody wants."""
        with self._lock:
            return self._waits.keys() | self._ears.keys()

    def read(self, reply: Any) -> str | None:
        """Hand over what a reply tells; returns the channel where that is to be looked at."""
        if not isinstance(reply, list) or reply[0] not in (b"message", b"subscribe"):
            return None
        channel = reply[1].decode(errors="replace")
        if reply[0] == b"subscribe":
            return str(channel)
        with self._lock:
            ears = list(self._ears.get(channel, ()))
            is_awaited = channel in self._waits
        for ear in ears:
            ear.hears(channel, reply[2])
        # What is heard is not believed: anybody can publish. The result is read.
        return str(channel) if is_awaited else None

    def look(self, channels: Iterable[str]) -> list[str]:
        """Tell ears to look again; returns the ids of the jobs whose results are to be read."""
        ids = []
        with self._lock:
            ears = {id(ear): ear for one in channels for ear in self._ears.get(one, ())}
            for channel in channels:
                if channel in self._waits:
                    ids.append(channel.removeprefix(self._keys.result_channel))
        for ear in ears.values():
            ear.looks()
        return sorted(ids)

    def looked_up(self, task_id: str, seen: Seen) -> None:
        """Hand over what was found of a job to all who wait for it."""
        with self._lock:
            waits = list(self._waits.get(self._keys.announced(task_id), ()))
        for wait in waits:
            wait.looked_up(task_id, seen)

    def redis_is_away(self) -> None:
        """Let everybody decide anew when to give up."""
        with self._lock:
            every = {id(one): one for some in self._waits.values() for one in some}
            ears = {id(one): one for some in self._ears.values() for one in some}
        for wait in every.values():
            wait.redis_is_away()
        for ear in ears.values():
            ear.redis_is_away()


def _take_out(table: dict[str, list[Any]], channel: str, one: Any) -> None:
    there = table.get(channel, [])
    if one in there:
        there.remove(one)
    if not there:
        table.pop(channel, None)
