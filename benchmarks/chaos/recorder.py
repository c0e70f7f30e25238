"""Watches the results in Redis from outside and keeps every stored value with its time.

It works in two ways at once, because either may miss a value: it hears the announcement that goes
with a stored result (a subscriber may be cut off) and polls the keys (a value may be overwritten
between two reads). It survives every outage of Redis.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import redis

from local_llm_service.worker.store.keys import Keys

KEY, CHANNEL = Keys().result_meta, Keys().result_channel
ANSWERED = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Stored:
    """One value that was stored for a job; `at` is in seconds of the monotonic clock."""

    job: str
    at: float
    status: str
    result: Any
    announced: bool

    @property
    def content(self) -> str:
        """The part that must not change once it has been stored."""
        return json.dumps([self.status, self.result], sort_keys=True)


class Recorder:
    """A thread that fills `stored`; `with Recorder(url) as recorder`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stored: dict[str, list[Stored]] = {}
        self.expected: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._until_stopped, args=(work,), daemon=True)
            for work in (self._listen, self._poll)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def expect(self, job: str) -> None:
        """Read this job's key from now on."""
        with self._lock:
            self.expected.add(job)

    def answer(self, job: str) -> Stored | None:
        """The first final value of a job."""
        return next((one for one in self.history(job) if one.status in ANSWERED), None)

    def history(self, job: str) -> list[Stored]:
        """All values of a job: each announcement and each change of its key."""
        with self._lock:
            return list(self.stored.get(job, ()))

    def unanswered(self, jobs: Collection[str]) -> list[str]:
        """The members of `jobs` that have no final value."""
        return [job for job in jobs if self.answer(job) is None]

    def read_once_more(self) -> None:
        """Read the keys of all expected jobs, answered or not. Raises redis-py's errors."""
        with self._lock:
            jobs = sorted(self.expected)
        with self._client() as client:
            self._read(client, jobs)

    def _until_stopped(self, work: Any) -> None:
        while not self._stop.is_set():
            with suppress(redis.RedisError, OSError), self._client() as client:
                work(client)
            self._stop.wait(0.05)

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(
            self._url, decode_responses=True, socket_timeout=1, socket_connect_timeout=1
        )

    def _listen(self, client: redis.Redis) -> None:
        channel: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        with channel:
            channel.psubscribe(f"{CHANNEL}*")
            while not self._stop.is_set():
                message = channel.get_message(timeout=0.2)
                if message is not None:
                    job = str(message["channel"]).removeprefix(CHANNEL)
                    self._note(job, str(message["data"]), announced=True)

    def _poll(self, client: redis.Redis) -> None:
        while not self._stop.wait(POLL_SECONDS):
            with self._lock:
                jobs = sorted(self.expected)
            self._read(client, self.unanswered(jobs))

    def _read(self, client: redis.Redis, jobs: list[str]) -> None:
        values: Any = client.mget([KEY + job for job in jobs]) if jobs else []
        for job, value in zip(jobs, values, strict=True):
            if value is not None:
                self._note(job, value, announced=False)

    def _note(self, job: str, value: str, *, announced: bool) -> None:
        meta = json.loads(value)
        seen = Stored(job, time.monotonic(), meta["status"], meta["result"], announced)
        with self._lock:
            history = self.stored.setdefault(job, [])
            if announced or not any(one.content == seen.content for one in history):
                history.append(seen)
