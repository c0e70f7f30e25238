"""The body of `POST /v1/jobs`, as a call of its kind."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from local_llm_service import tasks
from local_llm_service.producers.http.asking import Asked
from local_llm_service.tasks.request import JobRequest, Priority
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.bounds import LONGEST_DEADLINE_SECONDS


def _kind(name: str) -> str:
    if name not in tasks.__all__:
        raise ValueError(f"must be one of {', '.join(tasks.__all__)}")
    return name


#: The options of every kind, which stand beside `args`.
OPTIONS = frozenset(JobRequest.model_fields)
#: All that stands there.
_BESIDE = OPTIONS | {"kind", "webhook"}


class JobBody(BaseModel):
    """A job: a kind, its own arguments, and the options that every kind has."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Annotated[
        str, AfterValidator(_kind), Field(json_schema_extra={"enum": list(tasks.__all__)})
    ]
    args: dict[str, Any] = Field(default_factory=dict, description="The kind's own arguments")
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    priority: Priority | None = None
    cache: bool | None = None
    cache_scope: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    deadline_seconds: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_SECONDS)] | None = None
    keep_local: bool | None = Field(None, description="Let no word leave one's own hardware")
    stream: bool | None = Field(None, description="Let the text be read while it is written")
    webhook: str | None = Field(None, description="The URL that is told of the job's end")

    def asked(self) -> Asked:
        """The call. Raises InvalidRequest for an option among the arguments."""
        for name in sorted(_BESIDE & self.args.keys()):
            raise InvalidRequest(f"args.{name}: belongs beside args")
        if "task_id" in self.args:
            raise InvalidRequest(
                "args.task_id: the service names its jobs", "Send an Idempotency-Key."
            )
        options = {name: getattr(self, name) for name in OPTIONS}
        given = {name: value for name, value in options.items() if value is not None}
        return Asked(self.kind, {**self.args, **given})


def own_words(name: str, path: str) -> str:
    """A kind's field as the body has it."""
    return f"{name}{path}" if name in _BESIDE else f"args.{name}{path}"


def digest_of(asked: Asked, webhook: str | None) -> str:
    """What tells two requests under one idempotency key apart."""
    document = [asked.kind, asked.arguments, webhook]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
