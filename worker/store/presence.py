"""What a worker says of itself in Redis, and how others read it. See intake/publisher.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.store import bounds, keys
from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.progress import Progress

if TYPE_CHECKING:
    from local_llm_service.worker.store.store import Store


#: A worker names so many of its jobs; it has seldom more slots.
RUNNING_JOBS_MOST = 64
#: The end of the version that the embedded server gives.
EMBEDDED = "+embedded"


def server_name(version: str) -> str:
    """A model server as people read it: "Ollama 0.24.0", or that it is the embedded one."""
    if version.endswith(EMBEDDED):
        return f"embedded server (as Ollama {version.removesuffix(EMBEDDED)})"
    return f"Ollama {version}"


class RunningJob(BaseModel):
    """A job that a worker holds, without a word of what was asked or answered.

    `seconds` since the worker took it. `tokens`: the pieces of text that its engine has sent so
    far, one for each token where that is Ollama; `tokens_per_second` since the first of them, None
    before the second. `kind` and `model` are empty until the engine is asked. `progress` is None of
    a job that is one step.
    """

    model_config = ConfigDict(extra="ignore")

    task_id: str
    kind: str
    queue: str
    model: str
    seconds: float
    tokens: int
    tokens_per_second: float | None
    progress: Progress | None = None


class EnginePresence(BaseModel):
    """One engine of a worker: `slots` is what it runs at once, `running` how many jobs hold one.

    `reachable`: it answered at the last look. `url` has no password. `models` are those that jobs
    may ask it for, or could when it was last there. `notes` says in sentences what an operator
    should know.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: str
    url: str
    leaves_the_house: bool
    reachable: bool
    version: str | None
    slots: int
    running: int
    models: list[str] = []
    notes: list[str] = []


class Presence(BaseModel):
    """One worker: `slots` is its CONCURRENCY, `running` how many of them hold a job.

    What is said of an Ollama is said of the engine that serves its default model; `engines` has
    them all. `routes` are names that callers may give as `model` to let the worker choose, and
    `aliases` other names of models, each with the model's own.

    `closed_by` says why it takes no jobs now ("ollama", "draining"); empty while it does.
    `failing` names the models whose jobs its engine fails, so that it takes one of them at a time.
    `reasons` says in words why it cannot answer calls that name no model; empty while it can.
    """

    model_config = ConfigDict(extra="ignore")  # a newer worker may say more

    name: str
    slots: int
    running: int
    model: str
    ollama_host: str
    ollama_version: str | None
    ollama_reachable: bool
    closed_by: list[str] = []
    failing: list[str] = []
    reasons: list[str] = []
    lease_seconds: float | None = None
    #: REMOTE_BUDGET_USD of a worker that has paid models.
    remote_budget_usd: str | None = None
    cache_enabled: bool
    #: NUM_CTX, tokens; a model that was trained for less runs with less.
    num_ctx: int | None = None
    #: What an operator should know of this worker's model server, in sentences.
    notes: list[str] = []
    models: list[Model]
    engines: list[EnginePresence] = []
    routes: list[str] = []
    aliases: dict[str, str] = {}
    #: What it holds now, the oldest first, RUNNING_JOBS_MOST at most.
    jobs: list[RunningJob] = []


def serves(worker: Presence, name: str) -> bool:
    """Whether a worker has the model that a name, an alias or a route means, as far as it says."""
    if full_name(name) in map(full_name, worker.routes):
        return bool(worker.models)
    return _meant_by(worker, name) in {full_name(one.name) for one in worker.models}


def away_engine(worker: Presence, name: str) -> EnginePresence | None:
    """The engine of a worker that does not answer now, and had the model when it did."""
    model = _meant_by(worker, name)
    away = (one for one in worker.engines if not one.reachable)
    return next((one for one in away if model in map(full_name, one.models)), None)


def fails(worker: Presence, name: str) -> bool:
    """Whether its engine fails the model that a name or an alias means."""
    return _meant_by(worker, name) in worker.failing


def _meant_by(worker: Presence, name: str) -> str:
    means = {full_name(alias): full_name(model) for alias, model in worker.aliases.items()}
    return means.get(full_name(name), full_name(name))


def workers(names: keys.Keys) -> Calls[list[Presence]]:
    """All workers that are there now, by name."""
    # Not by a scan for their keys: that takes seconds where there are many results.
    there = sorted((yield Command(("ZRANGE", names.catalog_until, 0, -1))))
    if not there:
        return []
    found = yield Command(("MGET", *map(names.worker, there)))
    return [Presence.model_validate_json(text) for text in found if text is not None]


def read_all(store: Store) -> list[Presence]:
    """All workers that are there now, by name. Raises redis-py's errors."""
    return store.drive(workers(store.keys))


def publish(store: Store, worker: str, presence: str, catalog: str) -> None:
    """Write what one worker says for PRESENCE_TTL_SECONDS, and work out the consensus anew.

    `presence` is a Presence as JSON, empty when the worker goes; `catalog` as ServedModels.table
    gives it. Raises redis-py's errors.
    """
    ttl_ms = bounds.PRESENCE_TTL_SECONDS * 1000
    store.scripts.run("publish", [worker, presence, ttl_ms, catalog])
