"""Every Redis name and its lifetime. Ours alone: all keys but the queues' begin with `llm:`."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "local-llm"
PREFIX: Final = "llm:"

#: Queues, most urgent first; a queue is a Redis list under its own name, as kombu has it.
QUEUES: Final = ("llm.high", "llm.normal", "llm.low")
PRIORITIES: Final = ("high", "normal", "low")

# --- Custody: a message is in exactly one of these places. No lifetime: each move empties one. ---
#: kombu's own record of messages that workers hold: hash tag → [message, exchange, queue], and
#: sorted set tag → time of the last renewal, seconds. `HELD` adds hash tag → task id.
UNACKED: Final = "llm:unacked"
UNACKED_INDEX: Final = "llm:unacked_index"
UNACKED_MUTEX: Final = "llm:unacked_mutex"
HELD: Final = "llm:held"
#: Retries and `countdown`: sorted set task id → due time, ms; hash task id → message.
DEFERRED: Final = "llm:deferred"
DEFERRED_MESSAGES: Final = "llm:deferred_messages"
#: Dead letters: sorted set task id → time, ms; hash task id → message. Bounded, see DEAD_LETTERS_*.
DEAD: Final = "llm:dead"
DEAD_MESSAGES: Final = "llm:dead_messages"
#: Messages that are no JSON or name no task; the newest UNREADABLE_MOST are kept for a look.
UNREADABLE: Final = "llm:unreadable"
UNREADABLE_MOST: Final = 100

#: Sorted set task id → deadline, ms, of jobs that have no result yet.
DEADLINES: Final = "llm:deadlines"
#: Task ids that ended without a worker and whose failure is not stored yet.
UNANSWERED: Final = "llm:unanswered"
#: A list of at most DOORBELL_MOST rings: a worker waits here and then takes from the queues.
DOORBELL: Final = "llm:doorbell"
DOORBELL_MOST: Final = 64
#: Counter: a fresh fence token for each time that a message is taken.
FENCE: Final = "llm:fence"
#: Hash: since when some worker has always been in contact with Redis. Lives an hour.
CONTACT: Final = "llm:contact"
#: Channel on which the id of a cancelled job is published.
CANCEL_CHANNEL: Final = "llm:cancel"

# --- Flights: jobs of one fingerprint, of which one runs. Each lives to the latest deadline among
# its jobs plus RESULT_TTL. ---
#: Sorted set task id → deadline, ms: all who wait for the answer, queued, joined or running.
NOTED: Final = f"{PREFIX}noted:"
#: Hash leader, token: the job that runs.
FLIGHT: Final = f"{PREFIX}flight:"
#: Hash task id → message: jobs that were taken and wait for the leader. Custody.
JOINED: Final = f"{PREFIX}joined:"
#: String: the outcome of a flight for a job in a canvas, which a worker has to end.
HANDED: Final = f"{PREFIX}handed:"

# --- Cache: string "prompt tokens, completion tokens, answer" by fingerprint, for CACHE_TTL; the
# index and the counter of bytes live as long as the youngest entry. ---
CACHE: Final = f"{PREFIX}cache:"
#: Sorted set "fingerprint:bytes" → end of its lifetime, ms.
CACHE_INDEX: Final = f"{PREFIX}cache_index"
CACHE_BYTES: Final = f"{PREFIX}cache_bytes"
#: What Redis needs beside an entry's own bytes (MEMORY USAGE of key, value and index).
CACHE_ENTRY_OVERHEAD_BYTES: Final = 400

#: Hash: counters of the whole service. Lives STATS_SECONDS after the last job.
STATS: Final = f"{PREFIX}stats"
STATS_SECONDS: Final = 366 * 86_400

# --- What workers serve; each lives PRESENCE_TTL_SECONDS. ---
#: Hash worker → JSON of its default model and its models' identities, and sorted set worker → until
#: when that holds, ms.
SERVING: Final = f"{PREFIX}serving"
SERVING_UNTIL: Final = f"{PREFIX}serving_until"
#: Hash model → identity on which all workers agree; DEFAULT_MODEL → "model identity".
AGREED: Final = f"{PREFIX}agreed"
DEFAULT_MODEL: Final = "*"

#: Exchanges of control and events; kombu's tables of them.
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

#: Dead letters are dropped when they are older, or the oldest when there are more.
DEAD_LETTERS_SECONDS: Final = 7 * 86_400
DEAD_LETTERS_MOST: Final = 1000

#: Prefixes. LAST_TAKE: hash, what a worker took last, should the reply have been lost; an hour.
JOB: Final = f"{PREFIX}job:"
RESULT: Final = f"{PREFIX}celery-task-meta-"
SUSPECTS: Final = f"{PREFIX}suspect:"
WORKER: Final = f"{PREFIX}worker:"
LAST_TAKE: Final = f"{PREFIX}take:"


def job(task_id: str) -> str:
    """Hash: the small record of one job. Lives to its deadline plus RESULT_TTL."""
    return f"{JOB}{task_id}"


def result(task_id: str) -> str:
    """String (JSON), and the channel on which it is announced: Celery's result of one job."""
    return f"{RESULT}{task_id}"


def suspects(queue: str) -> str:
    """List: messages of `queue` that a worker died with; taken at most one at a time."""
    return f"{SUSPECTS}{queue}"


def worker(name: str) -> str:
    """String (JSON): what one worker serves. Lives PRESENCE_TTL_SECONDS."""
    return f"{WORKER}{name}"


def queue_of(priority: str) -> str:
    """The queue of a priority word."""
    return f"llm.{priority}"


#: What scripts know by the name that it has here.
IN_SCRIPTS: Final = (
    *("UNACKED", "UNACKED_INDEX", "HELD", "DEFERRED", "DEFERRED_MESSAGES", "DEAD"),
    *("DEAD_MESSAGES", "DEADLINES", "UNANSWERED", "DOORBELL", "DOORBELL_MOST", "CANCEL_CHANNEL"),
    *("UNREADABLE", "UNREADABLE_MOST", "FENCE", "CONTACT", "LAST_TAKE"),
    *("JOB", "RESULT", "SUSPECTS", "WORKER", "NOTED", "FLIGHT", "JOINED", "HANDED"),
    *("CACHE", "CACHE_INDEX", "CACHE_BYTES", "CACHE_ENTRY_OVERHEAD_BYTES"),
    *("STATS", "STATS_SECONDS", "SERVING", "SERVING_UNTIL", "AGREED"),
)


def lua_locals() -> list[tuple[str, str]]:
    """The names in IN_SCRIPTS, each with the Lua line that defines it."""
    return [(name, f"local {name} = {_lua(globals()[name])}") for name in IN_SCRIPTS]


def _lua(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"
