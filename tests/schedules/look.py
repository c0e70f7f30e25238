"""Reads all of Redis that matters in one call after every step, and the messages published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from local_llm_service.worker.store import keys
from local_llm_service.worker.store.keys import Keys

KEYS = Keys()

_LISTS = [
    name for q in keys.QUEUES for name in (KEYS.queue(q), KEYS.quarantine_of(q), KEYS.ending(q))
]
#: It begins like the channels of results and cancels; messages heard before it were sent before it.
_MARK = f"{KEYS.prefix}/0.c-mark"


@dataclass
class Seen:
    """`places` is where each job's message is; `waiting` counts messages that await a worker.

    `groups` maps a fingerprint to leader and token, `waiters` maps it to jobs.
    """

    places: dict[str, list[str]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    waiters: dict[str, list[str]] = field(default_factory=dict)
    #: What runs have written, by fingerprint or job: a flag, the run, the text.
    texts: dict[str, str] = field(default_factory=dict)
    #: `jobs` maps a job to "queue bytes", `sums` is what is counted of them.
    backlog: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Jobs that wait in an open fan-out.
    fanned: list[str] = field(default_factory=list)
    waiting: int = 0
    announced: list[tuple[str, str]] = field(default_factory=list)
    #: What workers listen for: channel and id of each cancel and each wish for a text.
    told: list[tuple[str, str]] = field(default_factory=list)


class Glass:
    """Looks at Redis through a connection of its own."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        known = "\n".join(
            f"local {name} = {value if isinstance(value, int) else repr(value)}"
            for name, value in KEYS.constants().items()
        )
        script = Path(__file__).with_suffix(".lua").read_text()
        self._script = client.register_script(f"{known}\n{script}")
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.psubscribe(f"{KEYS.prefix}/0.[crt]*")
        self._pubsub.get_message(timeout=10)  # the confirmation of the subscription

    def look(self, ids: list[str]) -> Seen:
        """Look at these jobs and at all messages."""
        found: dict[str, Any] = json.loads(self._script(keys=_LISTS, args=ids))
        waiting = found.pop("waiting")
        # Lua encodes an empty table as an object or as a list.
        seen = Seen(**{key: value or {} for key, value in found.items()}, waiting=waiting)
        for channel, data in self._published():
            if channel in (KEYS.cancel_channel, KEYS.text_wanted_channel):
                seen.told.append((channel, data))
            elif channel.startswith(KEYS.result_channel):
                seen.announced.append((channel.removeprefix(KEYS.result_channel), data))
        return seen

    def _published(self) -> Iterator[tuple[str, str]]:
        while True:
            message = self._pubsub.get_message(timeout=10)
            assert message is not None, "a published message does not arrive"
            if message["channel"] == _MARK:
                return
            yield message["channel"], message["data"]

    def close(self) -> None:
        """End the subscription."""
        self._pubsub.close()
