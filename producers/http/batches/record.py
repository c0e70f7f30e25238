"""What a batch is and how far it is, and both as OpenAI's batch object. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Self

from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.batches import KEPT_SECONDS, BatchRecord

_WINDOW = re.compile(r"([1-9]\d{0,5})([mh])")
_SECONDS: Final = {"m": 60, "h": 3600}


class BatchStatus(StrEnum):
    """OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


#: A batch ends in one of these.
ENDED: Final = frozenset(
    {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a batch is; only `retries` and `expires_at` change, when failed lines go again.

    `tenant` is the cache scope of its lines, `tag` begins their ids. Times are Unix seconds;
    `expires_at` None: it has no end but its lines' own deadlines. `keep_local`: no word of a line
    leaves one's own hardware. The ids of output and errors are
    those that the files will have. `output_seconds`: how long they are kept. `folder`: which
    FILES_DIR has its files.
    """

    id: str
    tag: str
    tenant: str | None
    endpoint: str
    completion_window: str
    created_at: int
    expires_at: int | None
    input_file_id: str
    output_file_id: str
    error_file_id: str
    output_seconds: int = KEPT_SECONDS
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
    webhook: str | None = field(default=None, repr=False)
    retries: int = 0
    folder: str = ""
    keep_local: bool = False

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what `text` has written, also of a newer version."""
        return cls(**_known(cls, json.loads(text)))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a batch is. Times are Unix seconds. `total` is None until the file is validated.

    `output_bytes`: how far the output is kept for good. `waits_for`: the code of what holds it up.
    """

    status: BatchStatus = BatchStatus.VALIDATING
    model: str | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    total: int | None = None
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    output_bytes: int = 0
    waits_for: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    ended_at: int | None = None
    has_output: bool = False
    has_errors: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it by itself."""
        return self.status in ENDED

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what `text` has written, also of a newer version."""
        found = _known(cls, json.loads(text))
        return cls(**{**found, "status": BatchStatus(found["status"])})


def _known(cls: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in found.items() if name in names}


def window_seconds(word: str) -> int | None:
    """The seconds of a completion window, None for "background". Raises InvalidRequest."""
    if word == "background":
        return None
    found = _WINDOW.fullmatch(word)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 60 <= seconds <= KEPT_SECONDS:
        raise InvalidRequest(
            "completion_window: must be minutes or hours up to 720h, or background",
            "For example 24h, 8h or 30m.",
        )
    return seconds


def batch_object(record: BatchRecord) -> dict[str, Any]:
    """The batch as its callers get it. Members that do not apply are null."""
    batch, progress = Definition.of(record.definition), Progress.of(record.progress)
    status = progress.status
    if record.cancelling_at is not None and not progress.has_ended:
        status = BatchStatus.CANCELLING
    ended = {f"{one}_at": progress.ended_at if one is status else None for one in sorted(ENDED)}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": progress.model,
        "errors": {"object": "list", "data": list(progress.errors)} if progress.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": str(status),
        "output_file_id": batch.output_file_id if progress.has_output else None,
        "error_file_id": batch.error_file_id if progress.has_errors else None,
        "created_at": batch.created_at,
        "in_progress_at": progress.in_progress_at,
        "expires_at": batch.expires_at,
        "finalizing_at": progress.finalizing_at,
        "cancelling_at": record.cancelling_at,
        **ended,
        "request_counts": {
            "total": progress.total or 0,
            "completed": progress.completed,
            "failed": progress.failed,
        },
        "usage": usage_of(progress.prompt_tokens, progress.completion_tokens),
        "metadata": batch.metadata,
        "local": {"retries": batch.retries, "waits_for": progress.waits_for},
    }


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Tokens in the words of a batch object."""
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + completion_tokens,
    }
