"""The moves of a schedule.

A move is a word and numbers. A number picks one of the present jobs, workers or actors, so any
numbers make a schedule; a move that finds nothing to pick does nothing and returns False.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import ModelFailed, OllamaBusy
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.lease.in_flight import Interrupted
from tests.schedules.actors import Actor, Order
from tests.schedules.engine import Generation
from tests.schedules.jobs import Job, new_jobs
from tests.schedules.site import Site
from tests.schedules.worker import CHORES, Worker

T = TypeVar("T")

MOST_JOBS, MOST_WORKERS, MOST_CALLERS = 8, 3, 4


def _pick(things: Sequence[T], which: int) -> T | None:
    return things[which % len(things)] if things else None


class Moves:
    """The moves on one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.made: Counter[str] = Counter()

    def play(self, word: str, *numbers: int) -> bool:
        """Make one move; return whether there was something to move."""
        moved = bool(getattr(self, word)(*numbers))
        self.made[word] += moved
        return moved

    def can(self, word: str) -> bool:
        """Whether there is something to move; only then does hypothesis try the move."""
        site, jobs = self._site, self._site.jobs.values()
        return bool(
            {
                "ask": len(site.jobs) < MOST_JOBS and len(site.callers) < MOST_CALLERS,
                "step": site.ready,
                "take": site.jobs and site.able,
                "chore": site.jobs and self._idle_heartbeats(),
                "finish": site.open,
                "timer": self._late(),
                "expire": self._holding(),
                "wake": any("deferred" in where for where in site.seen.places.values()),
                "wait": any("parked" in where for where in site.seen.places.values()),
                "jobs": site.jobs,
                # Limited, because a schedule in which all jobs are cancelled shows little.
                "cancel": sum(job.cancelled for job in jobs) < len(jobs) / 2,
                "crash": site.actors,
            }[word]
        )

    # --- callers ----------------------------------------------------------------------------

    def ask(self, what: int, how: int) -> bool:
        """Let a caller begin to submit a new job."""
        if not self.can("ask"):
            return False
        digest = min(worker.digest for worker in self._site.workers)
        jobs = new_jobs(len(self._site.jobs) + 1, what, how, digest)
        self._site.jobs |= {job.id: job for job in jobs}
        self._site.begin(f"ask {jobs[0].id}", lambda: jobs[0].ask(first=True))
        return True

    def again(self, which: int) -> bool:
        """Let a caller submit an id again, because it does not know whether its call succeeded."""
        job = _pick([job for job in self._site.jobs.values() if job.way != "next"], which)
        if job is None or len(self._site.callers) >= MOST_CALLERS:
            return False
        self._site.begin(f"ask {job.id}", job.ask)
        return True

    def cancel(self, which: int) -> bool:
        """Let a caller begin to cancel a job."""
        job = _pick(list(self._site.jobs.values()), which)
        return job is not None and self._cancel(job)

    def note(self, which: int) -> bool:
        """Let a caller begin to have the end of a job told to a webhook."""
        job = _pick([job for job in self._site.jobs.values() if job.asked], which)
        if job is None or len(self._site.callers) >= MOST_CALLERS:
            return False
        self._site.begin(f"note {job.id}", job.note)
        return True

    def leave(self, which: int, who: int) -> bool:
        """Let a caller begin to cancel a running job, or a job that waits for the same answer."""
        job = self._waits_for(_pick(self._site.open, which), who)
        return job is not None and self._cancel(job)

    def _cancel(self, job: Job) -> bool:
        if len(self._site.callers) >= MOST_CALLERS:
            return False
        job.cancelled = True
        self._site.begin(f"cancel {job.id}", job.cancel)
        return True

    def _waits_for(self, generation: Generation | None, who: int) -> Job | None:
        """The running job, or one of the jobs that wait for the same answer."""
        if generation is None:
            return None
        runs, seen = generation.made.job, self._site.seen
        same = seen.waiters.get(seen.records[runs].get("fingerprint", ""), [])
        picked = _pick([runs, *(one for one in same if one != runs)], who)
        return self._site.jobs[picked or runs]

    # --- workers ----------------------------------------------------------------------------

    def take(self, which: int) -> bool:
        """Let a worker with a free slot look for a job."""
        worker = _pick(self._site.able, which)
        if worker is not None:
            self._site.begin(f"slot of {worker.name}", worker.take, worker)
        return worker is not None

    def chore(self, which: int, what: int) -> bool:
        """Let a worker's heartbeat begin one of its chores."""
        worker = _pick(self._idle_heartbeats(), which)
        if worker is None:
            return False
        chore = CHORES[what % len(CHORES)]
        self._site.begin(f"heartbeat of {worker.name}", lambda: worker.chore(chore), worker)
        return True

    def start(self, slots: int) -> bool:
        """Start a new worker."""
        if len(self._site.alive) >= MOST_WORKERS:
            return False
        self._site.start_worker(1 + slots % 2)
        return True

    def drain(self, which: int) -> bool:
        """Shut a worker down, with its time for draining already over."""
        worker = _pick([one for one in self._site.alive if not one.draining], which)
        if worker is None:
            return False
        worker.draining = True
        worker.runtime.gate.close(Reason.DRAINING)
        worker.publish()
        for one in worker.runtime.in_flight.all():
            one.request_stop(Interrupted("the worker is shutting down"))
        return True

    def pull(self, which: int) -> bool:
        """Pull a new version of the model beside one worker or beside all."""
        worker = _pick([*self._site.alive, None], which)
        self._site.pull([worker] if worker is not None else self._site.alive)
        return True

    def lack(self, which: int) -> bool:
        """Remove the model beside one worker, or bring it back."""
        worker = _pick(self._site.alive, which)
        if worker is None:
            return False
        self._site.lack(worker, not worker.lacks)
        return True

    def _idle_heartbeats(self) -> list[Worker]:
        return [worker for worker in self._site.alive if not self._site.of(worker, "heartbeat")]

    # --- the next call of an actor ------------------------------------------------------------

    def step(self, which: int, steps: int = 1) -> bool:
        """Let an actor make `steps` Redis calls; 0 lets it run to its end or to the engine."""
        actor = _pick(self._site.ready, which)
        if actor is not None and not steps:
            self._site.go(actor, Order.RUN)
        for _ in range(steps):
            if actor is not None and self._site.is_ready(actor):
                self._site.go(actor)
        return actor is not None

    def lose(self, which: int) -> bool:
        """Make an actor's next Redis call and lose its reply: the call will be made again."""
        actor = _pick([actor for actor in self._site.ready if actor.at == "call"], which)
        if actor is not None:
            self._site.go(actor, Order.LOSE)
        return actor is not None

    def crash(self, which: int, how: int = 0, last: int = 0) -> bool:
        """Kill a worker or a caller; an odd `how` makes its `last` call and drops the reply."""
        site = self._site
        victims: list[Worker | Actor] = [*site.alive, *site.callers]
        victim = _pick(victims, which)
        if victim is None:
            return False
        mine = [victim] if isinstance(victim, Actor) else []
        if isinstance(victim, Worker):
            victim.alive = False
            mine = [actor for actor in site.actors if actor.owner is victim]
        final = _pick([actor for actor in mine if actor.at == "call"], last) if how % 2 else None
        for actor in mine:
            if actor is not final:
                actor.go(Order.DIE)
        if final is not None:
            final.go(Order.DIE_AFTER)
        site.tidy()
        site.look()
        return True

    # --- models -------------------------------------------------------------------------------

    def finish(self, which: int, then: int = 0) -> bool:
        """Let a model finish; an odd `then` lets its job end too."""
        return self._end(_pick(self._site.open, which), "finish", then)

    def fail(self, which: int, how: int, then: int = 0) -> bool:
        """Let a model fail: permanently, with an error that allows another try, or by dying."""
        errors = (ModelFailed("broken"), OllamaBusy("busy"), EngineDied("died"))
        return self._end(_pick(self._site.open, which), errors[how % 3], then)

    def timer(self, which: int) -> bool:
        """Let an engine see that its job's deadline has passed."""
        return self._end(_pick(self._late(), which), "late")

    def _end(self, generation: Generation | None, outcome: Any, then: int = 0) -> bool:
        if generation is None:
            return False
        self._site.end_generation(generation, outcome)
        if then % 2 and self._site.is_ready(generation.actor):
            self._site.go(generation.actor, Order.RUN)
        return True

    def _late(self) -> list[Generation]:
        return [one for one in self._site.open if self._site.jobs[one.made.job].late]

    # --- time ---------------------------------------------------------------------------------

    def expire(self, which: int) -> bool:
        """Let a worker's leases expire: the worker is dead or was frozen."""
        worker = _pick(self._holding(), which)
        if worker is not None:
            self._site.expire_leases(worker)
        return worker is not None

    def wake(self) -> bool:
        """Let enough time pass to end all pauses."""
        return self._site.end_pauses()

    def wait_over(self) -> bool:
        """Let enough time pass to end all waits for a model."""
        return self._site.end_waits()

    def late(self, which: int) -> bool:
        """Let a job's deadline pass."""
        job = _pick([job for job in self._site.jobs.values() if not job.late], which)
        if job is not None:
            self._site.pass_deadline(job)
        return job is not None

    def late_run(self, which: int, who: int = 0) -> bool:
        """Let the deadline pass of a running job or of one that waits for the same answer."""
        job = self._waits_for(_pick(self._site.open, which), who)
        if job is not None:
            self._site.pass_deadline(job)
        return job is not None

    def _holding(self) -> list[Worker]:
        return [worker for worker in self._site.workers if self._site.leases(worker)]
