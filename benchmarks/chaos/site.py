"""One case's world: a Redis with its file on disk, engines, workers, a recorder and a producer."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.chaos.engines import Engine, Generation
from benchmarks.chaos.load import Submitter
from benchmarks.chaos.prompts import Answers
from benchmarks.chaos.recorder import Recorder
from benchmarks.chaos.workers import ChaosWorker, Supervisor
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

TICK_SECONDS = 0.02

#: A killed Redis must not lose writes that it has confirmed: this service cannot mend that loss,
#: and with "everysec" a slow disk may postpone a write by two seconds (redis.conf(5)).
REDIS_OPTIONS = ("--appendfsync", "always", "--save", "")


@dataclass(frozen=True)
class Plan:
    """The parts of a site. `environment` goes to every worker."""

    redis_port: int
    lease_seconds: int
    workers: int = 1
    slots: int = 4
    engines: int | None = None  # None: one per worker
    chunk_seconds: float = 0.1
    environment: dict[str, str] = field(default_factory=dict)
    engine: type[Engine] = Engine
    redis_options: tuple[str, ...] = REDIS_OPTIONS


class Site:
    """`with Site(plan) as site` runs all but the workers; `supervisor.start()` starts those."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.directory = Path(tempfile.mkdtemp(prefix="local-llm-chaos-"))
        self.keep = False
        self._exits = ExitStack()
        self.redis = RedisProcess(
            self.directory / "redis",
            port=plan.redis_port,
            appendonly=True,
            extra=plan.redis_options,
        )
        answers = Answers(plan.chunk_seconds)
        count = plan.workers if plan.engines is None else plan.engines
        self.engines = [plan.engine(number=number, answers=answers) for number in range(count)]

    def __enter__(self) -> Self:
        try:
            self._exits.callback(self._clear)
            self._exits.enter_context(self.redis)
            for engine in self.engines:
                engine.start()
                self._exits.callback(self._stop_engine, engine)
            self.recorder = self._exits.enter_context(Recorder(self.redis.url))
            self.submitter = Submitter(self.recorder)
            self.supervisor = Supervisor([self._worker(n) for n in range(self.plan.workers)])
            self._exits.callback(self.supervisor.stop)
        except BaseException:
            self._exits.close()
            raise
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def run_for(self, seconds: float) -> None:
        """Let time pass while the supervisor keeps the workers running."""
        self.until(lambda: False, seconds)

    def until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Supervise until `condition` holds; False when it does not within the time."""
        end = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self.supervisor.tick()
            time.sleep(TICK_SECONDS)
        return True

    def until_answered(self, timeout_seconds: float) -> bool:
        """Supervise until every accepted job has its answer."""
        return self.until(
            lambda: not self.recorder.unanswered([s.ask.job for s in self.submitter.accepted]),
            timeout_seconds,
        )

    def generations(self) -> list[Generation]:
        """The generations of all engines, in order of time."""
        found = [one for engine in self.engines for one in engine.generations()]
        return sorted(found, key=lambda one: one.began)

    def running(self) -> dict[str, Generation]:
        """The generations that run now, by job."""
        return {one.job: one for engine in self.engines for one in engine.running()}

    def _worker(self, number: int) -> ChaosWorker:
        engine = self.engines[number % len(self.engines)]
        return ChaosWorker(
            number,
            {
                "REDIS_URL": self.redis.url,
                "OLLAMA_HOST": engine.host,
                "MODEL_NAME": engine.models[0],
                "CONCURRENCY": str(self.plan.slots),
                "LEASE_SECONDS": str(self.plan.lease_seconds),
                "CHAOS_DIRECTORY": str(self.directory),
                **self.plan.environment,
            },
            self.directory / f"worker-{number}",
        )

    def _stop_engine(self, engine: Engine) -> None:
        if len(engine.started_at) > len(engine.stopped_at):
            engine.stop()

    def _clear(self) -> None:
        if self.keep:
            print(f"  kept, with the workers' logs: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
