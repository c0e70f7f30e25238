"""Callers, workers and models on one Redis, and the passing of time. The moves are in moves.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from local_llm_service.tasks import admission
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.keys import QUEUES, Keys
from tests.schedules.actors import Actor, Calls, Order
from tests.schedules.engine import Generation, Made
from tests.schedules.jobs import Job
from tests.schedules.look import Glass, Seen
from tests.schedules.worker import Worker

KEYS = Keys()

#: Two tries and two crashes keep the ends near. Pauses are over when a schedule says so.
SETTINGS = {
    "max_attempts": 2,
    "max_crashes": 2,
    "retry_base_seconds": 1000,
    # Else a producer asks each Redis it has just connected to, at a step that nobody can foresee.
    "allow_eviction": True,
}


class Site:
    """One emptied Redis with two workers of two slots."""

    def __init__(self, glass: Glass, calls: Calls, settings: Settings) -> None:
        glass.client.flushall()
        calls.changed = True
        admission._consensus.clear()
        self.glass, self.calls, self.settings = glass, calls, settings
        self.jobs: dict[str, Job] = {}
        self.actors: list[Actor] = []
        self.workers: list[Worker] = []
        self.running: list[Generation] = []
        self.made: dict[int, Made] = {}
        self.generations: list[Generation] = []
        #: Whether a worker ever lacked the model.
        self.lacked = False
        #: The failed generations, each with the code of its error.
        self.failures: list[tuple[Made, str]] = []
        #: The last look at Redis and the one before it; one Redis call lies between them.
        self.seen = self.before = Seen()
        self.after_step: Callable[[], None] = lambda: None
        #: Is told of each generation before its model begins.
        self.sent: Callable[[Generation], None] = lambda _: None
        self._numbers, self._digest = count(1), 1
        self._fault: AssertionError | None = None
        for _ in range(2):
            self.start_worker(2)
        self.look()

    def close(self) -> None:
        """End all threads."""
        for actor in self.actors:
            if actor.at:
                actor.go(Order.DIE)
        self.actors.clear()

    # --- who is there -----------------------------------------------------------------------

    @property
    def alive(self) -> list[Worker]:
        """Workers that have not died."""
        return [worker for worker in self.workers if worker.alive]

    @property
    def able(self) -> list[Worker]:
        """Workers that would look for a job now."""
        return [worker for worker in self.alive if self._can_take(worker)]

    @property
    def callers(self) -> list[Actor]:
        """Callers in the middle of a call."""
        return [actor for actor in self.actors if actor.owner is None]

    @property
    def ready(self) -> list[Actor]:
        """Actors that can go on: before a call, or in an engine that has to stop."""
        return [actor for actor in self.actors if self.is_ready(actor)]

    @property
    def open(self) -> list[Generation]:
        """The generations that models work on."""
        return [one for one in self.running if one.actor.at == "engine" and not one.stopping]

    def of(self, worker: Worker, what: str) -> list[Actor]:
        """The worker's actors of this kind, slots or heartbeat, that are at work."""
        return [a for a in self.actors if a.owner is worker and a.name.startswith(what)]

    def is_ready(self, actor: Actor) -> bool:
        """Whether this actor can go on, as `ready` says."""
        stopping = actor.generation is not None and actor.generation.stopping
        return actor.at == "call" or (actor.at == "engine" and stopping)

    def _can_take(self, worker: Worker) -> bool:
        busy = max(len(self.of(worker, "slot")), len(worker.runtime.in_flight))
        free = not worker.draining and not worker.taking and busy < worker.slots
        return free and worker.runtime.isolation.may_take

    # --- what they do -----------------------------------------------------------------------

    def start_worker(self, slots: int) -> None:
        """Start a worker with the newest version of the model."""
        name = f"w{len(self.workers) + 1}"
        self.workers.append(Worker(name, slots, self.settings, self._digest, self._generate))

    def pull(self, workers: Iterable[Worker]) -> None:
        """Pull a new version of the model beside these workers."""
        self._digest += 1
        for worker in workers:
            worker.digest = self._digest
            worker.publish()

    def lack(self, worker: Worker, lacks: bool) -> None:
        """Remove the model beside a worker, or bring it back."""
        self.lacked |= lacks
        worker.lacks = lacks
        worker.publish()

    def begin(self, name: str, work: Callable[[], None], owner: Worker | None = None) -> Actor:
        """Begin some work in an actor, which stops before its first call."""
        actor = Actor(name, work, owner, self._look_from_an_actor)
        self.actors.append(actor)
        actor.start()
        self.tidy()
        return actor

    def go(self, actor: Actor, order: Order = Order.GO) -> None:
        """Let an actor go on."""
        actor.go(order)
        self.tidy()
        self.look()

    def run(self, name: str, work: Callable[[], None], owner: Worker) -> None:
        """Begin some work in an actor and let it run to its end or to the engine."""
        actor = self.begin(name, work, owner)
        if self.is_ready(actor):
            self.go(actor, Order.RUN)

    def end_generation(self, generation: Generation, outcome: Any) -> None:
        """End a generation: "finish", a ServiceError, or "late" when its deadline has passed."""
        generation.outcome = outcome
        if not isinstance(outcome, str):
            self.failures.append((generation.made, outcome.code))
        self.go(generation.actor)

    def _generate(self, made: Made, in_flight: InFlightDelivery, actor: Actor) -> Generation:
        worker, job = actor.owner, self.jobs[made.job]
        made = replace(made, number=next(self._numbers), digest=worker.digest)
        self.made[made.number] = made
        generation = Generation(made, in_flight, worker, actor)
        # Not what was seen before this step: a worker that lacks the model has just removed it.
        shares = self.glass.client.hexists(KEYS.job(made.job), "fingerprint")
        if job.shares and shares:
            generation.key = (job.kind, made.content, job.scope, worker.digest)
        self.running.append(generation)
        self.generations.append(generation)
        try:
            self.sent(generation)
        except AssertionError as error:  # the service would catch it: tidy() raises it
            self._fault = self._fault or error
        return generation

    # --- what is seen -----------------------------------------------------------------------

    def look(self) -> None:
        """Look at the effect of the last call and check the rules."""
        if not self.calls.changed:
            return
        self.calls.changed = False
        self.before, self.seen = self.seen, self.glass.look(list(self.jobs))
        self.seen.announced = self.before.announced + self.seen.announced
        for worker in self.alive:
            worker.inbox.messages.extend(self.seen.told)
        self.after_step()

    def _look_from_an_actor(self) -> None:
        try:
            self.look()
        except AssertionError as error:  # the service would catch it: tidy() raises it
            self._fault = self._fault or error

    def tidy(self) -> None:
        """Forget actors that have ended. Raises AssertionError for an unhandled error."""
        if self._fault is not None:
            raise self._fault
        for actor in self.actors:
            if actor.error is not None:
                raise AssertionError(f"{actor.name}: {actor.error!r}") from actor.error
        if self.calls.refused:
            raise AssertionError(f"Redis refused {self.calls.refused.pop()}")
        self.actors = [actor for actor in self.actors if actor.at]
        self.running = [one for one in self.running if one.actor.generation is one]

    # --- time -------------------------------------------------------------------------------

    def leases(self, worker: Worker) -> list[tuple[str, int]]:
        """Tags and numbers of the deliveries that this worker holds, according to Redis."""
        records = self.seen.records.values()
        mine = [one for one in records if one.get("worker") == worker.name and "tag" in one]
        held = [(one["tag"], one["token"]) for one in mine if "token" in one]
        return [(tag, int(token.partition("-")[0])) for tag, token in held]

    def expire_leases(self, worker: Worker) -> None:
        """Let enough time pass for the worker's leases to expire."""
        for tag, number in self.leases(worker):
            self.glass.client.zadd(KEYS.unacked_index, {tag: number}, xx=True)
        if not worker.alive:
            worker.publish()

    def end_pauses(self) -> bool:
        """Let enough time pass to make deferred jobs due; return whether there are any."""
        ids = sorted(map(str, self.glass.client.zrange(KEYS.deferred, 0, -1)))
        for place, task_id in enumerate(ids):
            self.glass.client.zadd(KEYS.deferred, {task_id: place}, xx=True)
        return bool(ids)

    def end_waits(self) -> bool:
        """Let enough time pass to end the wait for a model; return whether any job waits so."""
        client = self.glass.client
        for worker in self.alive:  # meanwhile the live ones went on publishing
            worker.publish()
        keys = [KEYS.parked_in(queue) for queue in QUEUES]
        ids = [(key, str(one)) for key in keys for one in client.zrange(key, 0, -1)]  # type: ignore[union-attr]
        for place, (key, task_id) in enumerate(ids):
            client.zadd(key, {task_id: place}, xx=True)
        if not any(worker.alive and not worker.lacks for worker in self.workers):
            client.delete(KEYS.served)
        self.calls.changed = True
        return bool(ids)

    def end_afterworks_pause(self) -> None:
        """Let enough time pass to make all afterwork due again."""
        for task_id in self.glass.client.zrange(KEYS.afterwork, 0, -1):
            self.glass.client.zadd(KEYS.afterwork, {task_id: 0}, xx=True)

    def pass_deadline(self, job: Job) -> None:
        """Move the job's deadline to a minute ago."""
        job.late = True
        client, record = self.glass.client, KEYS.job(job.id)
        seconds, _ = client.time()  # type: ignore[misc]
        passed = (int(seconds) - 60) * 1000 + list(self.jobs).index(job.id)
        if client.hexists(record, "deadline_ms"):
            client.hset(record, "deadline_ms", passed)
        client.zadd(KEYS.deadlines, {job.id: passed}, xx=True)
        for key in client.scan_iter(match=f"{KEYS.waiters}*"):
            client.zadd(key, {job.id: passed}, xx=True)
