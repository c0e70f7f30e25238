"""Every Redis name and its lifetime. All keys begin with one prefix, KEY_PREFIX.

The prefix holds a hash tag, so that a Redis Cluster keeps all keys of one service in one slot,
where a script can reach them.
"""

from __future__ import annotations

from typing import Any, Final, overload

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX

SERVICE: Final = "local-llm"

#: Queues, most urgent first, as Celery, Flower and callers name them.
QUEUES: Final = ("llm.high", "llm.normal", "llm.low")
PRIORITIES: Final = ("high", "normal", "low")

#: Exchanges of Celery's control and events.
CONTROL_EXCHANGE: Final = "llm.control"
EVENT_EXCHANGE: Final = "llm.events"

#: The entry of the consensus table for calls that name no model.
DEFAULT_MODEL: Final = "*"

#: Workers publish themselves this often and are gone after the TTL. Seconds.
PRESENCE_INTERVAL_SECONDS: Final = 3.0
PRESENCE_TTL_SECONDS: Final = 12

#: Dead letters are dropped when they are older, or the oldest when there are more.
DEAD_LETTERS_SECONDS: Final = 7 * 86_400
DEAD_LETTERS_MOST: Final = 1000

#: Numbers that scripts know by these names: the longest doorbell, the most unreadable messages, the
#: bounds of dead letters, how long statistics outlive the last job, and what Redis needs for a
#: cache entry beside its own bytes (MEMORY USAGE of key, value and index).
NUMBERS: Final = {
    "DOORBELL_MOST": 64,
    "UNREADABLE_MOST": 100,
    "DEAD_LETTERS_MS": DEAD_LETTERS_SECONDS * 1000,
    "DEAD_LETTERS_MOST": DEAD_LETTERS_MOST,
    "STATS_SECONDS": 366 * 86_400,
    "CACHE_ENTRY_OVERHEAD_BYTES": 400,
}


def queue_of(priority: str) -> str:
    """The queue of a priority word."""
    return f"llm.{priority}"


class _Name:
    """One name under the prefix of the `Keys` that it is read from."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, keys: None, owner: type) -> _Name: ...
    @overload
    def __get__(self, keys: Keys, owner: type) -> str: ...
    def __get__(self, keys: Keys | None, owner: type) -> str | _Name:
        return self if keys is None else keys.prefix + self.name


class Keys:
    """The names under one prefix. A name that ends in `:` or `-` is the beginning of many keys."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        self.prefix = prefix

    # --- Where a message is: in exactly one of these. No lifetime: each move empties one. ---
    #: List of messages, by queue name.
    queue_list = _Name("")
    #: List, by queue name: messages of jobs that a worker died with; taken at most one at a time.
    quarantine = _Name("quarantine:")
    #: In-flight deliveries, in kombu's own form: hash tag → [message, exchange, queue], and sorted
    #: set tag → time of the last renewal, seconds. UNACKED_JOBS adds hash tag → task id.
    unacked = _Name("unacked")
    unacked_index = _Name("unacked_index")
    unacked_mutex = _Name("unacked_mutex")
    unacked_jobs = _Name("unacked_jobs")
    #: Retries and `countdown`: sorted set task id → due time, ms; hash task id → message.
    deferred = _Name("deferred")
    deferred_messages = _Name("deferred_messages")
    #: Hash task id → message, by fingerprint: followers of a single-flight group. Lives to the
    #: latest deadline in the group plus RESULT_TTL, as do `waiters` and `group`.
    followers = _Name("followers:")
    #: Dead letters: sorted set task id → time, ms; hash task id → message. Bounded, see
    #: DEAD_LETTERS_*.
    dead_letters = _Name("dead_letters")
    dead_letter_messages = _Name("dead_letter_messages")
    #: The newest UNREADABLE_MOST messages that are not JSON or name no task.
    unreadable = _Name("unreadable")

    #: What has to happen after results are stored: sorted set task id → when it is due, ms; hash
    #: task id → message, where Celery calls something after the job. Ends with the job's result.
    afterwork = _Name("afterwork")
    afterwork_messages = _Name("afterwork_messages")

    # --- Jobs ---
    #: Hash: the record of one job, see states.JobRecord. Lives to its deadline plus RESULT_TTL.
    job_record = _Name("job:")
    #: String (JSON), and the channel on which it is announced: Celery's result of one job.
    result_meta = _Name("celery-task-meta-")
    #: Sorted set task id → deadline, ms, of jobs that have no result yet.
    deadlines = _Name("deadlines")
    #: Set of jobs that were given up and whose failure is not stored yet.
    unanswered = _Name("unanswered")
    #: List of at most DOORBELL_MOST rings: a worker waits here and then takes from the queues.
    doorbell = _Name("doorbell")
    #: Counter: a fresh fencing token for each delivery.
    fence = _Name("fence")
    #: Hash, by worker: what it took last, should the reply have been lost. Lives an hour.
    last_take = _Name("take:")
    #: Hash: since when some worker has always reached Redis. Lives an hour.
    redis_up_since = _Name("redis_up_since")
    #: Channel on which the id of a cancelled job is published.
    cancel_channel = _Name("cancel")

    # --- Single flight, by fingerprint ---
    #: Hash leader, token: the job that runs.
    group = _Name("group:")
    #: Sorted set task id → deadline, ms: all who wait for the answer: queued, followers, leader.
    waiters = _Name("waiters:")
    #: String, by task id: the group's outcome for a job in a canvas, which a worker has to end.
    handoff = _Name("handoff:")

    # --- Result cache ---
    #: String "prompt tokens, completion tokens, answer", by fingerprint. Lives CACHE_TTL.
    cache = _Name("cache:")
    #: Sorted set "fingerprint:bytes" → end of its lifetime, ms, and the sum of the bytes. Both live
    #: as long as the youngest entry.
    cache_index = _Name("cache_index")
    cache_bytes = _Name("cache_bytes")

    #: Hash: counters of the whole service. Lives STATS_SECONDS after the last job.
    stats = _Name("stats")

    # --- What workers serve. Each lives PRESENCE_TTL_SECONDS. ---
    #: String (JSON), by worker: see presence.Presence.
    presence = _Name("worker:")
    #: Hash worker → JSON of its default model and its models' revisions, and sorted set worker →
    #: until when that holds, ms.
    catalog = _Name("catalog")
    catalog_until = _Name("catalog_until")
    #: Hash model → the revision that all workers share; DEFAULT_MODEL → "model revision".
    consensus = _Name("consensus")

    def job(self, task_id: str) -> str:
        """The key of a job's record."""
        return f"{self.job_record}{task_id}"

    def result(self, task_id: str) -> str:
        """The key, and the channel, of a job's result."""
        return f"{self.result_meta}{task_id}"

    def queue(self, name: str) -> str:
        """The key of a queue's list."""
        return f"{self.queue_list}{name}"

    def quarantine_of(self, queue: str) -> str:
        """The key of a queue's quarantine."""
        return f"{self.quarantine}{queue}"

    def worker(self, name: str) -> str:
        """The key of what one worker says of itself."""
        return f"{self.presence}{name}"

    def constants(self) -> dict[str, str | int]:
        """What scripts know, by the name that it has there: the attribute in capitals."""
        names: dict[str, Any] = {
            attribute.upper(): getattr(self, attribute)
            for attribute, name in vars(Keys).items()
            if isinstance(name, _Name)
        }
        return {**names, **NUMBERS}


def relative(name: object) -> str:
    """A name without the prefix, for kombu, which puts `global_keyprefix` before it."""
    if not isinstance(name, _Name):
        raise TypeError("give an attribute of the class Keys")
    return name.name


#: Tables of kombu's exchanges, and its channels. kombu puts the prefix before them, and formats the
#: last one, which has to begin with "/".
BINDING: Final = "binding.%s"
BINDING_DEADLINES: Final = "binding_deadlines"
BINDING_PERMANENT: Final = "binding_permanent.%s"
FANOUT: Final = "/{db}."
