"""All errors of a job, and of a look at one, for callers and workers alike.

    ServiceError                     code                 retryable
    ├── InvalidRequest               invalid_request      no    the caller's input is wrong
    │   ├── UnsupportedUrl           unsupported_url      no    a line of a batch asks elsewhere
    │   ├── TooLarge                 too_large            no    an HTTP body, a header, a file
    │   └── IdempotencyMismatch      idempotency_mismatch no    the same key for another request
    ├── Unauthorized                 unauthorized         no    no API key, or a wrong one
    ├── Forbidden                    forbidden            no    this API key may not do that
    ├── RateLimited                  rate_limited         yes   the API key's share is used up
    ├── InvalidSetting               invalid_setting      no    a variable of this process is wrong
    ├── QueueFull                    queue_full           yes   the queue holds all that it may
    ├── BrokerUnreachable            broker_unreachable   yes   Redis does not answer
    ├── BrokerUnsafe                 broker_unsafe        no    Redis may drop accepted jobs
    ├── OllamaUnreachable            ollama_unreachable   yes   nothing answers at OLLAMA_HOST
    ├── OllamaBusy                   ollama_busy          yes   503: Ollama is loading or full
    ├── ModelMissing                 model_missing        no    `ollama pull` has not been run
    ├── ModelFailed                  model_failed         no    Ollama could not load or run it
    ├── ContextOverflow              context_overflow     no    prompt or answer past NUM_CTX
    ├── InvalidOutput                invalid_output       no    the answer breaks its contract
    ├── StreamBroken                 stream_broken        yes   the answer stopped halfway
    ├── EngineTimeout                timeout              yes   no token in time
    ├── DeadlineExceeded             deadline_exceeded    no    also Celery's TaskRevokedError
    ├── Cancelled                    cancelled            no    also Celery's TaskRevokedError
    ├── BudgetExceeded               budget_exceeded      no    paid models may cost no more now
    ├── CrashedTooOften              crashed_too_often    no    the job kills its workers
    ├── NotFound                     not_found            no    no job or dead letter has this id
    ├── NotReady                     not_ready            yes   no result yet; also a TimeoutError
    ├── FilesUnavailable             files_unavailable    yes  batches' files cannot be kept or read
    ├── ShuttingDown                 shutting_down        yes   an HTTP process ends, no job does
    └── InternalError                internal_error       no    a fault of this service

The arguments are (message, hint), positional and text only, because only these survive Celery's
JSON results. Neither ever holds prompt or answer text.
"""

from __future__ import annotations

import re
from typing import ClassVar

from celery.exceptions import TaskRevokedError

#: The end of an overflow's message, in numbers that survive every way that an error takes.
_SIZES = re.compile(r": (?:about )?(\d+) tokens, room for (\d+)$")


class ServiceError(Exception):
    """A failure with a stable `code`, a `hint` that says what to do, and `retryable`."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    #: False where an engine's call ended before anything was sent to a model server, as in a wait
    #: for a slot: it has cost nothing. For the worker alone.
    was_sent: bool = True
    #: True where a model server had begun with an answer that could not be used: whatever the class
    #: says, it may have cost. For the worker alone.
    was_begun: bool = False

    def __init__(self, message: str = "", hint: str | None = None) -> None:
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        super().__init__(message, self.hint)

    def __str__(self) -> str:
        return self.message


class InvalidRequest(ServiceError):
    """A field breaks a limit or a type, both named in the message; nothing was queued."""

    code = "invalid_request"
    default_hint = "Correct the named argument and send the request again."

    def __repr__(self) -> str:
        """What Celery writes into a worker's log and into events, where Flower shows it.

        The message may hold names that the caller made up, and is for the caller alone.
        """
        return "InvalidRequest('the caller is told what to correct')"


class UnsupportedUrl(InvalidRequest):
    """A line of a batch is for a URL that the batch does not run. Only batches report it."""

    code = "unsupported_url"
    default_hint = "Leave such lines out, or send them to a server that has this URL."


class TooLarge(InvalidRequest):
    """An HTTP request has more bytes than a limit, which the message names."""

    code = "too_large"
    default_hint = "Send less, or raise the named limit."


class IdempotencyMismatch(InvalidRequest):
    """An Idempotency-Key comes again with another request."""

    code = "idempotency_mismatch"
    default_hint = "Use a new key for each request that is not a repetition."


class Unauthorized(ServiceError):
    """An HTTP request has no API key that counts."""

    code = "unauthorized"
    default_hint = "Send `Authorization: Bearer KEY`; `local-llm keys add NAME` makes a key."


class Forbidden(ServiceError):
    """The caller is known and may not do this."""

    code = "forbidden"
    default_hint = "Ask the operator of this service for a key that may."


class RateLimited(ServiceError):
    """The API key has used up its rate, its jobs at once, or its open streams."""

    code = "rate_limited"
    retryable = True
    default_hint = "Wait, then send it again."

    #: Seconds after which the request may pass.
    retry_after_seconds: float = 1.0


class InvalidSetting(ServiceError):
    """Environment variables of this process are wrong; the message names them without a value."""

    code = "invalid_setting"
    default_hint = "Correct the environment variable; docs/settings.md lists them all."


class QueueFull(ServiceError):
    """The queue has MAX_QUEUE_LENGTH jobs without a result, or MAX_QUEUE_BYTES of them; nothing was
    queued."""

    code = "queue_full"
    retryable = True
    default_hint = "Send the job later, start more workers, or raise the limit."

    #: Seconds after which there may be room; None where nobody has estimated it.
    retry_after_seconds: float | None = None


class BrokerUnreachable(ServiceError):
    """Redis cannot be reached, or does not answer in time."""

    code = "broker_unreachable"
    retryable = True
    default_hint = "Start Redis (or `make up`) and check REDIS_URL."


class BrokerUnsafe(ServiceError):
    """Redis is set to drop keys when its memory runs out; nothing was queued."""

    code = "broker_unsafe"
    default_hint = (
        "Set `maxmemory-policy noeviction` in Redis, use another Redis, or insist with "
        "ALLOW_EVICTION=1."
    )


class OllamaUnreachable(ServiceError):
    """Nothing answers at OLLAMA_HOST."""

    code = "ollama_unreachable"
    retryable = True
    default_hint = "Start it with `ollama serve` and check OLLAMA_HOST."


class OllamaBusy(ServiceError):
    """Ollama refused the request because it is loading a model or its own queue is full."""

    code = "ollama_busy"
    retryable = True
    default_hint = "Keep CONCURRENCY at Ollama's OLLAMA_NUM_PARALLEL, or raise OLLAMA_MAX_QUEUE."

    #: Seconds after which the server wants to be asked again; None where it did not say.
    retry_after_seconds: float | None = None


class ModelMissing(ServiceError):
    """The model is not on this Ollama."""

    code = "model_missing"
    default_hint = "Run `ollama pull <model>` on the worker's host, or set MODEL_NAME."


class ModelFailed(ServiceError):
    """Ollama has the model but could not load or run it."""

    code = "model_failed"
    default_hint = "Check the log of `ollama serve`; try `ollama run <model>` by hand."


class ContextOverflow(ServiceError):
    """The prompt, or the prompt with its answer, does not fit into the context window."""

    code = "context_overflow"
    default_hint = "Shorten the input, ask for fewer tokens, or raise NUM_CTX on the workers."

    #: What the message of a prompt that was refused begins with; its sizes are the prompt's own.
    REFUSED: ClassVar[str] = "the prompt does not fit the context window"

    #: The tokens of an answer that ran into the end of the context; not all of them are text.
    tokens: int = 0

    @classmethod
    def of(cls, what: str, tokens: int, room: int, hint: str | None = None) -> ContextOverflow:
        """An overflow with both numbers: the tokens that there are, and those that there may be."""
        return cls(f"{what}: {tokens} tokens, room for {room}", hint)

    @classmethod
    def about(cls, what: str, tokens: int, room: int, hint: str | None = None) -> ContextOverflow:
        """The same where the tokens are an estimate."""
        return cls(f"{what}: about {tokens} tokens, room for {room}", hint)

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Both numbers; None where the message has only one, or none."""
        found = _SIZES.search(self.message)
        return None if found is None else (int(found[1]), int(found[2]))


class InvalidOutput(ServiceError):
    """The model's answer breaks the contract of its kind and is not passed on."""

    code = "invalid_output"
    default_hint = "Ask again with a larger budget or a simpler schema, or use a larger model."

    #: What the model wrote last, for the job's dead letter alone: it is no argument of the error,
    #: so no result, log or event holds it.
    text: str = ""
    #: About how many tokens it had written when it was stopped; 0 where a completion counts them.
    tokens: int = 0


class StreamBroken(ServiceError):
    """Ollama stopped halfway through the answer."""

    code = "stream_broken"
    retryable = True
    default_hint = "Ask again. The log of the model server may say why it broke off."


class EngineTimeout(ServiceError):
    """The first token, or the next one, did not come within the time that the settings allow."""

    code = "timeout"
    retryable = True
    default_hint = "Check the load on the host, or raise FIRST_TOKEN_SECONDS or NEXT_TOKEN_SECONDS."


class DeadlineExceeded(ServiceError, TaskRevokedError):
    """The job's deadline passed before there was an answer."""

    code = "deadline_exceeded"
    default_hint = "Raise deadline_seconds, use a more urgent queue, or start more workers."


class Cancelled(ServiceError, TaskRevokedError):
    """Somebody cancelled the job."""

    code = "cancelled"
    default_hint = "Send the job again if that was a mistake."


class BudgetExceeded(ServiceError):
    """What the call could cost is more than REMOTE_BUDGET_USD still allows; nothing was sent."""

    code = "budget_exceeded"
    default_hint = "Ask a local model, wait for the next day or month, or raise REMOTE_BUDGET_USD."


class CrashedTooOften(ServiceError):
    """The worker died each time that it ran this job; the job is not tried again."""

    code = "crashed_too_often"
    default_hint = "Check the worker's log and memory before you send the job again."


class NotFound(ServiceError):
    """Redis has no job or dead letter under this id. Only look-ups raise it; no job ends so."""

    code = "not_found"
    default_hint = "Check the id. A job is forgotten RESULT_TTL seconds after its end."


class NotReady(ServiceError, TimeoutError):
    """The job exists and has no result yet. Only look-ups and waits raise it; no job ends so."""

    code = "not_ready"
    retryable = True
    default_hint = "Ask again later."


class FilesUnavailable(ServiceError):
    """FILES_DIR, the folder of batches' files, takes no more, or cannot be read or written."""

    code = "files_unavailable"
    retryable = True
    default_hint = "Make room on its disk, or check FILES_DIR and its permissions."


class ShuttingDown(ServiceError):
    """The HTTP process that waits for a job ends; the job goes on, under its id."""

    code = "shutting_down"
    retryable = True
    default_hint = "Send it again: another process answers with the same job, or ask for its id."


class InternalError(ServiceError):
    """A fault of this service. The message holds the type of the error, never its text."""

    code = "internal_error"
    default_hint = "Please report it with the lines around it in the worker's log."
