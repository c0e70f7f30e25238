"""Every Redis name; bounds.py says how long they live. All keys begin with one prefix, KEY_PREFIX.

The prefix holds a hash tag, so that a Redis Cluster keeps all keys of one service in one slot,
where a script can reach them.
"""

from __future__ import annotations

from typing import Any, Final

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store.bounds import NUMBERS
from local_llm_service.worker.store.key_names import ChannelName as _Channel
from local_llm_service.worker.store.key_names import KeyName as _Name

SERVICE: Final = "local-llm"

#: Queues, most urgent first, as Celery, Flower and callers name them.
QUEUES: Final = ("llm.high", "llm.normal", "llm.low")
PRIORITIES: Final = ("high", "normal", "low")

#: Exchanges of Celery's control and events.
CONTROL_EXCHANGE: Final = "llm.control"
EVENT_EXCHANGE: Final = "llm.events"

#: The entry of the consensus table for calls that name no model.
DEFAULT_MODEL: Final = "*"


def queue_of(priority: str) -> str:
    """The queue of a priority word."""
    return f"llm.{priority}"


class Keys:
    """The names under one prefix in one database, which names of channels need.

    A name that ends in `:`, `-` or `.` is the beginning of many.
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX, database: int = 0) -> None:
        self.prefix, self.database = prefix, database

    # --- Where a message is: in exactly one of these. No lifetime: each move empties one. ---
    #: List of messages, by queue name.
    queue_list = _Name("")
    #: List, by queue name: messages of suspects, which ran when a worker or an engine died. Each
    #: runs with nothing beside it.
    quarantine = _Name("quarantine:")
    #: List, by queue name: messages of jobs in a canvas that are cancelled or too late. A worker
    #: has only to end them, and takes them with a gate that Ollama's absence has closed, too.
    to_end = _Name("to_end:")
    #: In-flight deliveries, in kombu's own form: hash tag → [message, exchange, queue], and sorted
    #: set tag → time of the last renewal, seconds. UNACKED_JOBS adds hash tag → task id.
    unacked = _Name("unacked")
    unacked_index = _Name("unacked_index")
    unacked_mutex = _Name("unacked_mutex")
    unacked_jobs = _Name("unacked_jobs")
    #: Parked messages, which wait for a worker that serves their model. Sorted set task id → since
    #: when nobody serves it, ms, by queue; sorted set task id → time of its submit, ms, by queue
    #: and model; hash task id → bytes of "queue:model", ":", "queue:model", message.
    parked = _Name("parked:")
    parked_for = _Name("parked_for:")
    parked_messages = _Name("parked_messages")
    #: Retries and `countdown`: sorted set task id → due time, ms; hash task id → message.
    deferred = _Name("deferred")
    deferred_messages = _Name("deferred_messages")
    #: Hash task id → message, by fingerprint: followers of a single-flight group. Lives to the
    #: latest deadline in the group plus RESULT_TTL, as do `waiters` and `group`.
    followers = _Name("followers:")
    #: Dead letters: sorted set task id → time, ms; hash task id → message; hash task id → what the
    #: model wrote last, of jobs that failed for that. Bounded, see DEAD_LETTERS_*.
    dead_letters = _Name("dead_letters")
    dead_letter_messages = _Name("dead_letter_messages")
    dead_letter_texts = _Name("dead_letter_texts")
    #: String: bytes of these messages and texts. Lives as long as a letter, then they are counted
    #: anew.
    dead_letter_bytes = _Name("dead_letter_bytes")
    #: The newest UNREADABLE_MOST messages that are not JSON or name no task, and of each its first
    #: UNREADABLE_BYTES.
    unreadable = _Name("unreadable")

    #: What has to happen after results are stored: sorted set task id → when it is due, ms; hash
    #: task id → message, where Celery calls something after the job. Ends with the job's result.
    afterwork = _Name("afterwork")
    afterwork_messages = _Name("afterwork_messages")

    # --- Jobs ---
    #: Hash: the record of one job, see states.JobRecord. Lives to its deadline plus RESULT_TTL.
    job_record = _Name("job:")
    #: String (JSON): Celery's result of one job; and the channel on which it is announced.
    result_meta = _Name("celery-task-meta-")
    result_channel = _Channel("result.")
    #: Jobs that were admitted and have no result yet: hash task id → "queue bytes", and hash
    #: "queue:jobs", "queue:bytes" → their sums.
    backlog_jobs = _Name("backlog_jobs")
    backlog = _Name("backlog")
    #: Sorted set task id → deadline, ms, of jobs that have no result yet; once it has passed, when
    #: to look at the job again.
    deadlines = _Name("deadlines")
    #: Set of jobs that were given up and whose failure is not stored yet.
    unanswered = _Name("unanswered")
    #: List of at most DOORBELL_MOST rings: a worker waits here and then takes from the queues.
    doorbell = _Name("doorbell")
    #: The same, by model: for workers that serve it. Lives a minute.
    doorbell_for = _Name("doorbell_for:")
    #: The same where a worker waits whose gate is closed: rings for `to_end`. Lives a minute.
    end_bell = _Name("end_bell")
    #: Set of jobs whose message is to go from its queue to `to_end`, and hash: how far the search
    #: has come. The second lives an hour.
    sought = _Name("sought")
    sifting = _Name("sifting")
    #: Counter of deliveries. A fencing token is this count and the nonce of its take.
    fence = _Name("fence")
    #: Hash, by worker: what it took last, should the reply have been lost. Lives an hour.
    last_take = _Name("take:")
    #: String: the worker that empties itself for a quarantined job. Lives CLEARING_MS.
    clearing = _Name("clearing")
    #: Hash: since when some worker has always reached Redis, in which run of it. Lives an hour.
    redis_up_since = _Name("redis_up_since")
    #: Hash: how far time has come, and by how much Redis's clock was set back meanwhile, ms. Lives
    #: CLOCK_SECONDS after the last worker.
    clock = _Name("clock")
    #: Channel on which the id of a cancelled job is published.
    cancel_channel = _Channel("cancel")

    #: Channel of Celery's events, as kombu names it, and kombu's table of who listens to them.
    event_channel = _Channel(f"{EVENT_EXCHANGE}/task.multi")
    event_listeners = _Name(f"binding.{EVENT_EXCHANGE}")

    # --- Single flight, by fingerprint ---
    #: Hash leader, token: the job that runs.
    group = _Name("group:")
    #: Sorted set task id → deadline, ms: all who wait for the answer: queued, followers, leader.
    waiters = _Name("waiters:")
    #: Open fan-outs, where many wait for one outcome and get it a hundred at a time. Sorted set
    #: name → last progress, ms; set of names, by fingerprint; by name: hash with the outcome, and
    #: what was `waiters` and `followers`. All but the first live as long as these.
    fan_outs = _Name("fan_outs")
    fan_outs_of = _Name("fan_outs_of:")
    fan_out = _Name("fan_out:")
    fan_out_waiters = _Name("fan_out_waiters:")
    fan_out_followers = _Name("fan_out_followers:")
    #: String, by task id: the group's outcome for a job in a canvas, which a worker has to end.
    handoff = _Name("handoff:")

    # --- The texts of streamed jobs ---
    #: String flag, run, text, by fingerprint, or by task id of a job that shares nothing: what a
    #: run has written so far. Lives TEXT_SECONDS after the last addition.
    text = _Name("text:")
    #: Channel, by the same, on which each addition is published.
    text_channel = _Channel("text.")
    #: String, by fingerprint: somebody who waits for the answer wants to read its text meanwhile.
    #: Lives as `waiters`, and ends when they have their answer.
    text_wanted = _Name("text_wanted:")
    #: Channel on which the id of a leader is published when somebody begins to want its text.
    text_wanted_channel = _Channel("text_wanted")

    # --- HTTP ---
    #: String: digest of the request that a task id stands for, which was made of an idempotency
    #: key. Lives as the job's record could.
    idempotency = _Name("idempotency:")
    #: String (JSON), by task id: what an OpenAI response repeats of its request, and its
    #: conversation. Lives as the job's record could, or until it is deleted.
    response = _Name("response:")
    #: Hash, by task id: run whose text was told to a reader → its number. Lives as `response`.
    response_texts = _Name("response_texts:")

    # --- Webhooks ---
    #: Sorted set event id → when it is to be delivered next, ms, and event id → when it was given
    #: up, ms. Both live as long as the last event in them.
    webhooks_due = _Name("webhooks_due")
    webhooks_given_up = _Name("webhooks_given_up")
    #: Hash, by event id: what is told whom, and what became of it. Lives WEBHOOK_SECONDS after it
    #: is due, or was given up.
    webhook_event = _Name("webhook_event:")
    #: String, by the SHA-1 of a URL: it answered that it is gone. Lives WEBHOOK_GONE_SECONDS.
    webhook_gone = _Name("webhook_gone:")

    # --- Result cache ---
    #: String "prompt tokens, completion tokens, answer", by fingerprint. Lives CACHE_TTL.
    cache = _Name("cache:")
    #: Sorted set "fingerprint:bytes" → end of its lifetime, ms, and the sum of the bytes. Both live
    #: as long as the youngest entry.
    cache_index = _Name("cache_index")
    cache_bytes = _Name("cache_bytes")

    # --- Vectors of texts, bounded like the result cache and apart from it ---
    #: String (JSON), by fingerprint of a text. Lives CACHE_TTL.
    vector = _Name("vector:")
    #: As cache_index and cache_bytes.
    vector_index = _Name("vector_index")
    vector_bytes = _Name("vector_bytes")

    # --- Steps of jobs that have several, bounded like the result cache and apart from it ---
    #: String (JSON): the completion of one step, by the fingerprint of a step that jobs share, else
    #: by task id, ".", fingerprint, ".", number. Lives STEP_SECONDS, the second no longer than its
    #: job.
    step = _Name("step:")
    #: As cache_index and cache_bytes.
    step_index = _Name("step_index")
    step_bytes = _Name("step_bytes")
    #: Set, by task id: members of `step_index` that are of this job alone. Lives STEP_SECONDS, and
    #: no longer than the job.
    own_steps = _Name("own_steps:")
    #: String (JSON), by fingerprint, or by task id of a job that shares nothing: the rates by which
    #: its first run sized its prompts. Lives STEP_SECONDS.
    fixed_rates = _Name("fixed_rates:")

    # --- What paid models cost, in whole nanodollars ---
    #: Hash reserved, paid, wasted, by UTC day ("2026-11-29") and by month ("2026-11"). Lives
    #: SPENDING_SECONDS after the last change.
    spending = _Name("spending:")
    #: Open bookings: hash name → JSON, and sorted set name → when it counts as wasted, ms. Both
    #: live SPENDING_SECONDS after the last booking.
    bookings = _Name("bookings")
    bookings_due = _Name("bookings_due")
    #: Hash, by fingerprint, or by task id of a job that shares nothing: the completions that were
    #: bought for this work, and how often a call for it was cut off. Ends with the work; else lives
    #: STEP_SECONDS and to the latest deadline.
    paid_steps = _Name("paid_steps:")

    # --- What answers have taught of models ---
    #: Hash "class:bytes", "class:millitokens" → sums over texts, by digest of a model, see
    #: tokens/characters.py. Lives TOKEN_RATES_SECONDS after the last answer that taught.
    token_rates = _Name("token_rates:")

    # --- Batches of HTTP. Each lives as long as the youngest batch that it tells of. ---
    #: Hash definition, progress, cancelling_at, token, claimed_by, nonce, by batch id: see
    #: batches.py. Lives KEPT_SECONDS after its last change.
    batch = _Name("batch:")
    #: Sorted set batch id → when it was made, ms, by tag of its tenant.
    batches = _Name("batches:")
    #: Sorted set batch id → until when a driver has it, ms; of one that waits, since when.
    batches_open = _Name("batches_open")
    #: String: every batch on the disk has a record. Lives a minute.
    batches_restored = _Name("batches_restored")

    #: Hash: counters of the whole service. Lives STATS_SECONDS after the last job.
    stats = _Name("stats")
    #: Hash, by day in UTC, YYYY-MM-DD: the savings ledger, see savings.py. Lives SAVINGS_SECONDS
    #: after its last new row.
    savings = _Name("savings:")
    #: Hash model → JSON of four counts, by fencing token: tokens of that run which are in the
    #: ledger already. Lives RUN_TOKENS_SECONDS after the last of them.
    run_tokens = _Name("run_tokens:")

    # --- What workers serve. Each lives PRESENCE_TTL_SECONDS. ---
    #: String (JSON), by worker: see presence.Presence.
    presence = _Name("worker:")
    #: Hash worker → JSON of its default model and its models' revisions, and sorted set worker →
    #: until when that holds, ms.
    catalog = _Name("catalog")
    catalog_until = _Name("catalog_until")
    #: Hash model → the revision that all workers share; DEFAULT_MODEL → "model revision".
    consensus = _Name("consensus")
    #: Sorted set model (or DEFAULT_MODEL) → when a live worker served it last, ms. Lives
    #: SERVED_SECONDS.
    served = _Name("served")

    # --- Callers over HTTP ---
    #: Hash key id → JSON of an API key, see api_keys.ApiKey. No lifetime: they are an operator's.
    api_key_records = _Name("api_keys")
    #: String, by key id: when all requests of this key would be worked off at its rate, ms. Lives
    #: until then.
    api_rate = _Name("api_rate:")
    #: Sorted set task id → when it was admitted, ms, by key id: its jobs, of which those that have
    #: a result count no more. Lives API_JOBS_SECONDS after the last one.
    api_jobs = _Name("api_jobs:")
    #: Sorted set name → until when it counts, ms, by key id: open streams. Lives as the last one.
    open_streams = _Name("open_streams:")
    #: Sorted set task id → until when, ms: jobs for whose answer a connection is open. An entry
    #: ends with its job.
    attended = _Name("attended")
    #: Sorted set task id → when it is to be cancelled, ms: jobs whose caller has gone away. An
    #: entry ends with its job.
    orphans = _Name("orphans")
    #: Hash since, last, ms: while workers have always looked for such jobs. Lives an hour.
    attendance = _Name("attendance")

    def job(self, task_id: str) -> str:
        """The key of a job's record."""
        return f"{self.job_record}{task_id}"

    def result(self, task_id: str) -> str:
        """The key of a job's result."""
        return f"{self.result_meta}{task_id}"

    def announced(self, task_id: str) -> str:
        """The channel on which a job's result is announced."""
        return f"{self.result_channel}{task_id}"

    def queue(self, name: str) -> str:
        """The key of a queue's list."""
        return f"{self.queue_list}{name}"

    def quarantine_of(self, queue: str) -> str:
        """The key of a queue's quarantine."""
        return f"{self.quarantine}{queue}"

    def ending(self, queue: str) -> str:
        """The key of a queue's messages of jobs that a worker has only to end."""
        return f"{self.to_end}{queue}"

    def parked_in(self, queue: str) -> str:
        """The key of what is parked in a queue."""
        return f"{self.parked}{queue}"

    def bell_of(self, model: str) -> str:
        """The key of the doorbell of workers that serve a model."""
        return f"{self.doorbell_for}{model}"

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
