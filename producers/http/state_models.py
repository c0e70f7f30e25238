"""What the service says of itself, as models: for the OpenAPI document, which tests hold to it."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LiveAnswer(BaseModel):
    """`status`: "live", "ready" or "not ready"."""

    status: str


class EngineHealth(BaseModel):
    """One engine of a worker. `running` jobs hold one of its `slots`; `models` are those that jobs
    may ask it for, or could when it was last there; `notes` is what an operator should know."""

    name: str
    kind: str = Field(description="`ollama` or `openai_compatible`.")
    url: str
    leaves_the_house: bool = Field(description="What is sent to it leaves one's own hardware.")
    reachable: bool
    version: str | None
    slots: int
    running: int
    models: list[str]
    notes: list[str]


class WorkerHealth(BaseModel):
    """One worker. `closed_by` says why it takes no jobs, `failing` which models its engines fail,
    `reasons` why it cannot answer, `notes` what an operator should know. What is said of an Ollama
    is said of the engine of the default model. `routes` and `aliases` are further names that calls
    may give as `model`."""

    name: str
    slots: int
    running: int
    ollama_version: str | None
    ollama_reachable: bool
    closed_by: list[str]
    failing: list[str]
    reasons: list[str]
    notes: list[str]
    engines: list[EngineHealth]
    routes: list[str]
    aliases: dict[str, str]


class HealthAnswer(BaseModel):
    """Whether jobs can be answered now; `reasons` says why not."""

    service: str
    status: str = Field(description="`healthy`, `degraded` or `down`.")
    reasons: list[str]
    model: str
    ollama_host: str
    cache_enabled: bool
    workers: list[WorkerHealth]


class ModelNow(BaseModel):
    """A model that workers can run now. `default`: the MODEL_NAME of at least one of them.
    `aliases`: other names that calls may give it."""

    name: str
    digest: str
    size_bytes: int
    context_tokens: int | None
    default: bool
    workers: list[str]
    aliases: list[str]
    leaves_the_house: bool = Field(description="What is sent to it leaves one's own hardware.")


class ModelsAnswer(BaseModel):
    """All models, by name."""

    models: list[ModelNow]


class QueueNow(BaseModel):
    """`waiting`: messages in the queue; `unfinished`: all its jobs without a result, in jobs and
    bytes."""

    name: str
    waiting: int
    unfinished: int
    bytes: int


class QueuesAnswer(BaseModel):
    """All queues, most urgent first."""

    queues: list[QueueNow]


class StatsAnswer(BaseModel):
    """Counts since this Redis was new: `total_requests` are `hits`, `misses` and those that
    `joined` one that ran. Costs are estimates."""

    total_requests: int
    avg_latency_ms: float
    total_tokens_generated: int
    cache_enabled: bool
    hits: int
    misses: int
    joined: int
    hit_rate: float
    estimated_gpt4_cost_usd: float
    cost_savings_usd: float
