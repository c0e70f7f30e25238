"""The bodies and queries of `/v1/batches`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from local_llm_service.producers.http.batches.file_routes import FEWEST_SECONDS, MOST_SECONDS
from local_llm_service.producers.http.batches.record import BatchStatus
from local_llm_service.producers.http.metadata import Metadata


class ExpiresAfter(BaseModel):
    """How long output and errors are kept."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=FEWEST_SECONDS, le=MOST_SECONDS)]


class BatchBody(BaseModel):
    """What a batch is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
    webhook: str | None = None

    @field_validator("metadata")
    @classmethod
    def _is_none(cls, pairs: dict[str, str] | None) -> dict[str, str] | None:
        return pairs or None


class BatchObject(BaseModel):
    """A batch, as OpenAI's API has it. Times are Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: dict[str, int]
    usage: dict[str, Any]
    metadata: dict[str, str] | None
    local: dict[str, Any]


class BatchList(BaseModel):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchQuery(BaseModel):
    """Which batches to list."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ResultsQuery(BaseModel):
    """After which line of the output to begin."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0)] = 0
