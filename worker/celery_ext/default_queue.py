"""The queue of a signature of ours, named in it, in case that another app's worker sends it."""

from __future__ import annotations

from typing import Any

from local_llm_service.worker.store import keys

#: Options that name a destination.
DESTINATION = ("queue", "exchange", "routing_key")


class DefaultQueue(str):
    """A queue that nobody asked for: the default of the kind, or of the call's priority.

    A worker of another app reads it as any queue; here a `priority` of the call goes before it.
    """

    __slots__ = ()


def name_queue(signature: Any, default_priority: str) -> None:
    """Let a signature name its queue, unless it names a destination already."""
    if any(signature.options.get(word) for word in DESTINATION):
        return
    priority = (signature.kwargs or {}).get("priority")
    word = priority if priority in keys.PRIORITIES else default_priority
    signature.options["queue"] = DefaultQueue(keys.queue_of(word))
