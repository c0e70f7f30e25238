"""Webhooks as calls (calls.py): whom to tell of a job's end, and the events that are delivered.

Pure: nothing here asks Redis. The scripts that end jobs write the events (lua/shared/webhooks.lua).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys

#: What events of a job are called: `job.succeeded`, or `response.completed` as OpenAI says.
EventKind = Literal["job", "response"]

#: What becomes of one try. GONE: the URL wants no event any more.
Outcome = Literal["delivered", "again", "given_up", "gone"]


class Event(NamedTuple):
    """An event that was taken to be delivered. `created_ms` is when it happened, Unix time in ms;
    `tries` counts this try, from 1."""

    event_id: str
    type: str
    object_id: str
    host: str
    url: str
    created_ms: int
    tries: int


class EventLook(NamedTuple):
    """What there is to see of an event.

    `code`: what came of the last try, a status or a word; empty before the first. `due_ms`: when it
    is tried next, Unix time in ms; None once it was given up.
    """

    event_id: str
    type: str
    object_id: str
    host: str
    tries: int
    code: str
    due_ms: int | None


class Webhooks:
    """The webhooks under one prefix."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def note_webhook(self, task_id: str, kind: EventKind, host: str, url: str) -> Calls[bool]:
        """Let the job's end be told to this URL; at once where it has ended. It replaces an earlier
        one. False when there is no such job."""
        return bool((yield Script("note_webhook", [task_id, f"{kind} {host} {url}"])))

    def add_webhook(self, event_type: str, object_id: str, host: str, url: str) -> Calls[None]:
        """Let an event be delivered that is not a job's end. Whoever says the same again, as a
        second driver of a batch may, adds nothing while it waits, and the same id later."""
        name = hashlib.sha256(f"{event_type} {object_id}".encode()).hexdigest()[:40]
        yield Script("add_webhook", [f"evt_{name}", event_type, object_id, host, url])

    def take_webhooks(
        self,
        most: int,
        *,
        lease_seconds: float,
        for_one_host: int,
        busy: Sequence[str] = (),
    ) -> Calls[list[Event]]:
        """Take up to `most` events that are due; each is due again after `lease_seconds`.

        `busy` names the hosts of those that the caller delivers now, each as often: a host that has
        `for_one_host` of them gets no other.
        """
        args: list[Any] = [most, int(lease_seconds * 1000), for_one_host]
        found = yield Script("take_webhooks", [*args, *busy])
        return [Event(*event) for event in found]

    def end_webhook(
        self, event: Event, outcome: Outcome, code: str, again_seconds: float = 0
    ) -> Calls[bool]:
        """Note what became of a try; AGAIN, in so many seconds. False: it counts no more."""
        args = [event.event_id, event.tries, outcome, code, int(again_seconds * 1000)]
        return bool((yield Script("end_webhook", args)))

    def retry_webhook(self, event_id: str) -> Calls[bool]:
        """Let an event be delivered now, as if it had not been tried. False: there is none."""
        return bool((yield Script("retry_webhook", [event_id])))

    def is_gone(self, url: str) -> Calls[bool]:
        """Whether this URL has answered that it is gone, within a day."""
        name = hashlib.sha1(url.encode()).hexdigest()
        return bool((yield Command(("EXISTS", f"{self._keys.webhook_gone}{name}"))))

    def events(self, most: int = 1000) -> Calls[list[EventLook]]:
        """What waits to be delivered, the next one first, then what was given up, the newest first;
        `most` of each."""
        keys, found = self._keys, []
        due = yield Command(("ZRANGE", keys.webhooks_due, 0, most - 1, "WITHSCORES"))
        given_up = yield Command(("ZREVRANGE", keys.webhooks_given_up, 0, most - 1, "WITHSCORES"))
        for event_id, score, is_due in [
            *((event_id, score, True) for event_id, score in _pairs(due)),
            *((event_id, score, False) for event_id, score in _pairs(given_up)),
        ]:
            said = yield Command(("HGETALL", f"{keys.webhook_event}{event_id}"))
            if "type" in said:
                found.append(_look(event_id, said, int(score) if is_due else None))
        return found


def _look(event_id: str, said: Mapping[str, str], due_ms: int | None) -> EventLook:
    told = (said["type"], said["object"], said["host"], int(said["tries"]))
    return EventLook(event_id, *told, said.get("code", ""), due_ms)


def _pairs(reply: Sequence[Any]) -> list[tuple[str, float]]:
    """What ZRANGE says: pairs, or by an older protocol flat with scores as text."""
    if reply and isinstance(reply[0], str | bytes):
        return [(one, float(score)) for one, score in zip(reply[::2], reply[1::2], strict=True)]
    return [(one, float(score)) for one, score in reply]
