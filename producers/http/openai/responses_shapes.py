"""Queries and objects of the routes of Responses, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_Included = Annotated[str | None, Field(description="Taken, and of no effect")]


class RetrieveQuery(BaseModel):
    """`starting_after`: the number of the last event that the reader has."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    include_obfuscation: bool = False
    include: _Included = None
    include_list: Annotated[_Included, Field(alias="include[]")] = None


class InputItemsQuery(BaseModel):
    """A page of items: those behind `after`, at most `limit`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    after: Annotated[str | None, Field(max_length=300)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    include: _Included = None
    include_list: Annotated[_Included, Field(alias="include[]")] = None


class ResponseError(BaseModel):
    """Why there is no answer. `type` is the service's own code."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    type: str
    param: None


class ResponseUsage(BaseModel):
    """Tokens."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class IncompleteDetails(BaseModel):
    """What has cut the answer."""

    reason: Literal["max_output_tokens"]


class ResponseObject(BaseModel):
    """OpenAI's `response`. `local` is this service's own."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    service_tier: Literal["priority", "default", "flex"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    metadata: dict[str, str]
    local: dict[str, Any]


class ResponseDeleted(BaseModel):
    """A response that is not kept any more."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(BaseModel):
    """A page of items."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Compaction(BaseModel):
    """OpenAI's `response.compaction`: one item that stands for the conversation."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[dict[str, Any]]
    usage: ResponseUsage
    local: dict[str, Any]
