"""Hears our side's results announced in Redis, in the same step that stores them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Self

import redis

from local_llm_service.worker.store.keys import Keys

KEYS = Keys()

LATE_SECONDS = 2.0


class Watcher:
    """A thread that records each first announcement's time: `with Watcher(url) as watcher`."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._times: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._pubsub.psubscribe(f"{KEYS.result_channel}*")
        self._pubsub.get_message(
            timeout=1
        )  # the confirmation: from here on no announcement is missed
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._pubsub.close()
        self._client.close()

    def stored(self, ids: Collection[str]) -> dict[str, float]:
        """When the result of each of `ids` was stored; ids that were never announced are left out.

        Waits a moment for the last announcements.
        """
        end = time.monotonic() + LATE_SECONDS
        while not set(ids) <= self._times.keys() and time.monotonic() < end:
            time.sleep(0.02)
        return {one: self._times[one] for one in ids if one in self._times}

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message is not None:
                task_id = str(message["channel"]).removeprefix(KEYS.result_channel)
                self._times.setdefault(task_id, time.monotonic())
