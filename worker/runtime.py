"""The runtime: everything that one worker has beside Celery, passed down to every room.

celery_ext/steps.py makes the runtime when the worker starts. The transport, which kombu constructs,
finds it in its connection's options; a job finds it in its request (celery_ext/transport.py puts it
there). Two workers can live in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.intake.engine_breakers import EngineBreakers
from local_llm_service.worker.intake.engine_deaths import EngineDeaths
from local_llm_service.worker.intake.gate import Gate
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.intake.publisher import Publisher
from local_llm_service.worker.intake.served_models import ServedModels
from local_llm_service.worker.lease.consumption import Consumption
from local_llm_service.worker.lease.in_flight import InFlightDeliveries, InFlightDelivery, Release
from local_llm_service.worker.lease.isolation import Isolation
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.jobs import EngineDeath
from local_llm_service.worker.store.outcomes import Work
from local_llm_service.worker.store.presence import RUNNING_JOBS_MOST, RunningJob
from local_llm_service.worker.store.store import Store
from local_llm_service.worker.text_writer import TextWriter
from local_llm_service.worker.tokens.book import TokenBook
from local_llm_service.worker.turns import Turns

#: Between two jobs that look for an engine, however many wait for it, and until one looks again.
LOOK_APART_SECONDS, LOOK_MOST_SECONDS = 0.05, 30.0


def _nothing() -> None:
    """Stands in until a step has started the thread that does afterwork."""


@dataclass(eq=False)
class WorkerRuntime:
    """One worker's parts. `name` is Celery's node name, `slots` the number of jobs at once."""

    name: str
    slots: int
    settings: Settings
    store: Store
    engine: Engine
    gate: Gate
    catalog: ModelCatalog
    breaker: EngineBreakers
    in_flight: InFlightDeliveries = field(default_factory=InFlightDeliveries)
    consumption: Consumption = field(default_factory=Consumption)
    engine_deaths: EngineDeaths = field(default_factory=EngineDeaths)
    #: The models that this worker takes jobs for, of the parts above.
    served: ServedModels = field(init=False)
    #: Lets what follows a result be done now: celery_ext/afterwork.py.
    nudge_afterwork: Callable[[], None] = _nothing

    #: Models that gave no log-probabilities when they were asked for some.
    without_logprobs: set[str] = field(default_factory=set)
    #: When jobs of a route look again whether an engine that is away has come back.
    looks: Turns = field(default_factory=lambda: Turns(LOOK_APART_SECONDS, LOOK_MOST_SECONDS))

    def __post_init__(self) -> None:
        #: What its ENGINES_FILE says.
        self.fleet: Fleet = self.catalog.fleet

        def held() -> list[str]:
            return [one.model or one.delivery.model for one in self.in_flight.all()]

        self.served = ServedModels(self.settings, self.catalog, self.gate, self.breaker, held)
        if self.settings.engines_file is not None:
            self.in_flight.ended = self._ring_for
        #: What this worker may take, so that a suspect runs with nothing beside it.
        self.isolation = Isolation(self.in_flight, self.slots, lambda: self.engine.occupied)
        #: Writes the texts of streamed jobs.
        self.text_writer = TextWriter(self.store.texts)
        #: What is known of the tokens of its models.
        self.tokens = TokenBook(self.store.token_rates)

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot is free, here and in the engine, and nothing in it has to run alone."""
        busy = len(self.in_flight) + self.engine.occupied
        return busy < self.slots and self.isolation.may_take

    @property
    def could_take(self) -> bool:
        """Whether this worker would take a job now, if one waited."""
        is_ready = self.gate.is_open and self.served.now() is not None
        return is_ready and self.has_free_slot and not self.isolation.holds_back

    def __repr__(self) -> str:
        return f"<runtime of {self.name}>"

    def __json__(self) -> str:
        """The text that Celery's `inspect stats` shows among a connection's options."""
        return repr(self)

    @classmethod
    def make(
        cls, name: str, slots: int, settings: Settings, store: Store, engine: Engine
    ) -> WorkerRuntime:
        """Put the parts together without starting any of them."""
        gate, catalog = Gate(), ModelCatalog(settings, engine)
        breaker = EngineBreakers(catalog.fleet, catalog.members, gate, catalog)
        return cls(name, slots, settings, store, engine, gate, catalog, breaker)

    def publisher(self) -> Publisher:
        """What says of this worker what others may know, not yet started."""
        return Publisher(
            self.name,
            lambda: self.slots,
            running=lambda: len(self.in_flight),
            jobs=self._running_jobs,
            settings=self.settings,
            store=self.store,
            gate=self.gate,
            catalog=self.catalog,
            served=self.served,
            breaker=self.breaker,
        )

    def _ring_for(self, ended: InFlightDelivery) -> None:
        """Look for a job of the model whose slot is free now: a wait that has begun without it
        would go on for a second."""
        model = self.served.meant_by(ended.model or ended.delivery.model)
        if self.served.is_full(model, and_one_more=True):
            with suppress(redis.RedisError):
                self.store.jobs.ring_for_model(model)

    def _running_jobs(self) -> list[RunningJob]:
        return [
            RunningJob(
                task_id=one.delivery.task_id,
                kind=one.kind,
                queue=one.delivery.queue,
                model=one.model,
                seconds=round(one.running_seconds, 3),
                tokens=one.writing.pieces,
                tokens_per_second=one.writing.pieces_per_second,
                progress=one.progress,
            )
            for one in self.in_flight.all()[:RUNNING_JOBS_MOST]
        ]

    def release(
        self,
        task_id: str,
        token: str,
        *,
        delay_seconds: float = 0.0,
        attempts: int = 0,
        engine_died: EngineDeath = "",
        yields: bool = False,
        work: Work | None = None,
    ) -> None:
        """End a delivery: its message goes back now, or as soon as Redis can be reached."""
        how = {"delay_seconds": delay_seconds, "attempts": attempts, "engine_died": engine_died}
        release = Release(task_id, token, {**how, "yields": yields, "work": work})
        try:
            self.store.jobs.release(task_id, token, **release.options)
        except redis.RedisError:
            self.in_flight.release_later(release)
        self.in_flight.end(token)
