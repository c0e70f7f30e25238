"""Every Redis name and its lifetime. Ours alone: all keys but the queues' begin with `llm:`."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "local-llm"
PREFIX: Final = "llm:"

#: Queues, most urgent first; a queue is a Redis list under its own name, as kombu has it.
QUEUES: Final = ("llm.high", "llm.normal", "llm.low")
PRIORITIES: Final = ("high", "normal", "low")

#: kombu's record of messages that a worker holds, and exchanges of control and events.
UNACKED: Final = "llm:unacked"
UNACKED_INDEX: Final = "llm:unacked_index"
UNACKED_MUTEX: Final = "llm:unacked_mutex"
BINDING: Final = "llm:binding.%s"
BINDING_DEADLINES: Final = "llm:binding_deadlines"
BINDING_PERMANENT: Final = "llm:binding_permanent.%s"
# kombu cuts this prefix off only where it begins with "/", and up to the first dot.
FANOUT: Final = "/llm:{db}."
CONTROL_EXCHANGE: Final = "llm.control"
EVENT_EXCHANGE: Final = "llm.events"

#: Workers publish themselves this often and are gone after the TTL. Seconds.
PRESENCE_INTERVAL_SECONDS: Final = 3.0
PRESENCE_TTL_SECONDS: Final = 12


def job(task_id: str) -> str:
    """Hash: the small record of one job. Lives to its deadline plus RESULT_TTL."""
    return f"{PREFIX}job:{task_id}"


def worker(name: str) -> str:
    """String (JSON): what one worker serves. Lives PRESENCE_TTL_SECONDS."""
    return f"{PREFIX}worker:{name}"


def queue_of(priority: str) -> str:
    """The queue of a priority word."""
    return f"llm.{priority}"
