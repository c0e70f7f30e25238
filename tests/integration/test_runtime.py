"""Each worker has its own runtime: two workers in one process share only Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import redis
from celery import signals
from kombu import Connection, Consumer, Queue

from local_llm_service import celeryconfig, tasks
from local_llm_service.worker import metrics
from local_llm_service.worker.celery_ext import steps, transport
from local_llm_service.worker.engine import open_engine
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.store.store import process_store


class Consuming:
    """One worker's connection, without Celery: it takes messages and keeps them."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        settings: Settings = get_settings()
        engine = open_engine(settings)
        stack.callback(engine.close)
        self.runtime = WorkerRuntime.make(name, 1, settings, process_store(), engine)
        # No Ollama is there: what it would have is what jobs are taken for.
        self.runtime.catalog.note([Model(settings.model_name, "digest", 1, None)])
        options = {**celeryconfig.broker_transport_options, transport.OPTION: self.runtime}
        self.connection: Any = stack.enter_context(
            Connection(settings.redis_url, transport=transport.Transport, transport_options=options)
        )
        channel = self.connection.channel()
        consumer: Any = Consumer(channel, [Queue("llm.high")], callbacks=[lambda *_: None])
        consumer.qos(prefetch_count=1)
        stack.enter_context(consumer)

    def look(self) -> list[str]:
        """Wait for one message; return the ids of the jobs that the worker holds then."""
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=2)
        return [one.delivery.task_id for one in self.runtime.in_flight.all()]


@pytest.fixture
def two(redis_client: redis.Redis) -> Iterator[tuple[Consuming, Consuming]]:
    """Two workers of one slot in this process."""
    with ExitStack() as stack:
        yield Consuming("one@here", stack), Consuming("two@here", stack)


def test_each_worker_holds_only_its_own_jobs(two: tuple[Consuming, Consuming]) -> None:
    """A worker with full slots does not keep the other from taking jobs."""
    one, other = two
    first, second = (tasks.generate.delay(prompt, cache=False).id for prompt in "ab")
    assert one.look() == [first]
    assert one.look() == [first], "its one slot is full"
    assert other.look() == [second]
    records = [process_store().jobs.record(task_id) for task_id in (first, second)]
    assert [record and record.worker for record in records] == ["one@here", "two@here"]


def test_a_closed_gate_is_one_workers_own(two: tuple[Consuming, Consuming]) -> None:
    """When one worker drains or its Ollama is away, the other goes on."""
    one, other = two
    one.runtime.gate.close(Reason.DRAINING)
    sent = tasks.generate.delay("a", cache=False).id
    assert one.look() == []
    assert other.look() == [sent]


def test_a_producers_connection_belongs_to_no_worker(redis_client: redis.Redis) -> None:
    """Such a connection sends jobs and cannot take any."""
    tasks.generate.delay("a", cache=False)
    with Connection(
        get_settings().redis_url,
        transport=transport.Transport,
        transport_options=celeryconfig.broker_transport_options,
    ) as connection:
        channel: Any = connection.channel()
        consumer = Consumer(channel, [Queue("llm.high")], callbacks=[lambda *_: None])
        with consumer, pytest.raises(TimeoutError):
            connection.drain_events(timeout=2)
    assert process_store().jobs.waiting(["llm.high"]) == {"llm.high": 1}


def test_a_runtime_shows_no_secret_where_celery_prints_it(
    two: tuple[Consuming, Consuming],
) -> None:
    """`inspect stats` answers with a connection's options as JSON."""
    from kombu.utils.json import dumps

    shown = dumps(two[0].connection.info()["transport_options"])  # type: ignore[no-untyped-call]
    assert "<runtime of one@here>" in shown


class CelerysWorker:
    """What the steps see of Celery's worker."""

    def __init__(self, runtime: WorkerRuntime) -> None:
        self.hostname, self.llm_runtime = runtime.name, runtime


@pytest.fixture
def started(
    two: tuple[Consuming, Consuming], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Any]]:
    """Both with what Celery's worker starts for them; each parent stands for that worker."""
    monkeypatch.setattr(steps, "check_parts", lambda _: None)
    parents = [CelerysWorker(one.runtime) for one in two]
    for parent in parents:
        steps.LeaseStep(parent).start(parent)
    yield parents
    for parent in parents:
        signals.worker_shutdown.send(sender=parent)


def test_a_shutdown_drains_its_own_worker(started: list[Any]) -> None:
    """Celery tells every receiver of the process."""
    signals.worker_shutting_down.send(sender="one@here", sig="TERM", how="Warm", exitcode=0)
    gates = [parent.llm_runtime.gate for parent in started]
    assert [gate.reasons for gate in gates] == [[Reason.DRAINING], []]


def test_a_job_is_counted_once(started: list[Any]) -> None:
    """However many workers the process has."""
    counter = metrics.JOBS.labels("generate", "succeeded")
    before = counter._value.get()
    signals.task_success.send(sender=tasks.generate, result=None)
    assert counter._value.get() == before + 1
