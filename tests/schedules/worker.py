"""One worker of a schedule, in shipped code except for the engine, the pool and the connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import Empty
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import uuid4

from kombu.transport.virtual import Message

from local_llm_service.tasks import admission, submit
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext import transport
from local_llm_service.worker.celery_ext.afterwork import AfterworkThread
from local_llm_service.worker.celery_ext.request import PrivateRequest
from local_llm_service.worker.celery_ext.result_backend import fail
from local_llm_service.worker.lease.fan_outs import finish_fan_outs
from local_llm_service.worker.lease.heartbeat import LeaseHeartbeat
from local_llm_service.worker.lease.model_wait import ModelWait
from local_llm_service.worker.lease.reaper import Reaper
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys, store
from local_llm_service.worker.store.store import process_store
from tests.doubles.pieces import working_by
from tests.schedules.actors import here
from tests.schedules.engine import Engine
from tests.schedules.jobs import summarized

#: The chores of a worker's heartbeat, done one at a time, and what its thread for afterwork does.
CHORES = (
    *("renew", "listen", "wake", "expire", "reap", "answer", "sift", "fan_out", "unserved"),
    "afterwork",
)


class Channel(transport.Channel):
    """The shipped channel without a connection: it takes jobs and passes them to a slot."""

    connection_errors = ()

    def __init__(
        self, runtime: WorkerRuntime, deliver: Callable[[dict[str, Any], str], None]
    ) -> None:
        self.llm_runtime = runtime
        self.client = SimpleNamespace(parse_response=lambda *_, **__: None, connection=None)
        self.connection = SimpleNamespace(_deliver=deliver)
        self._in_poll = None

    def _job_queues(self) -> list[str]:
        return list(keys.QUEUES)


class Inbox:
    """Published cancels and wishes, with their channels, that this worker has not heard yet."""

    def __init__(self) -> None:
        self.messages: deque[tuple[str, str]] = deque()

    def get_message(self, timeout: float) -> dict[str, str] | None:
        """Return the next one without waiting."""
        return (
            dict(zip(("channel", "data"), self.messages.popleft(), strict=True))
            if self.messages
            else None
        )

    def close(self) -> None:
        """Do nothing: there is no connection."""


class Worker:
    """One worker; `digest` is its version of the model."""

    def __init__(self, name: str, slots: int, settings: Settings, digest: int, begin: Any) -> None:
        self.name, self.slots, self.digest = name, slots, digest
        self.alive, self.draining, self.lacks = True, False, False
        engine = Engine(self, begin)
        store = process_store()
        self.runtime = WorkerRuntime.make(name, slots, settings, store, engine)  # type: ignore[arg-type]
        self.reaper = Reaper(settings, store, self.runtime.gate, partial(fail, self.runtime))
        self.model_wait = ModelWait(settings, store, partial(fail, self.runtime))
        # Its pauses are real time. A worker that may not take a job is one that lacks the model.
        for breakers in self.runtime.served.breakers.values():
            breakers.ended = lambda *_: None  # type: ignore[method-assign]
        # What is there of a text when its run ends is written then, in a call of the schedule.
        self.runtime.text_writer.plan = lambda _: None  # type: ignore[method-assign]
        self.heartbeat = LeaseHeartbeat(store, self.runtime.in_flight, settings.lease_seconds)
        self.afterwork = AfterworkThread(store.afterwork, lambda: app.backend, ())
        self.inbox = Inbox()
        self.heartbeat._listener = self.inbox
        self._qos = transport.QoS.__new__(transport.QoS)
        self._qos.channel = SimpleNamespace(llm_runtime=self.runtime)
        self._qos._quick_ack = lambda _: None
        self._publisher = self.runtime.publisher()
        #: Takes under way: the consumer's thread makes one at a time.
        self.taking = 0
        self.publish()

    def publish(self) -> None:
        """Publish the models, as a worker does every few seconds; a dead worker is removed."""
        self._publisher.publish(self._publisher.observe().model_dump_json() if self.alive else "")

    def take(self) -> None:
        """Look into the queues once and run a job that is found to its end."""
        self.taking += 1
        try:
            Channel(self.runtime, self._deliver)._brpop_read()
        except Empty:
            self.taking -= 1

    def chore(self, which: str) -> None:
        """Do one of the heartbeat's chores."""
        self.heartbeat.release_due()
        jobs = self.runtime.store.jobs
        {
            "renew": self.heartbeat.renew,
            "listen": self.heartbeat.listen,
            "wake": lambda: jobs.wake_deferred(keys.queue_of("normal")),
            "expire": self.reaper.expire,
            "reap": self.reaper.reap,
            "answer": self.reaper.answer,
            "sift": lambda: self.runtime.store.endings.sift(keys.QUEUES),
            "fan_out": lambda: finish_fan_outs(self.runtime.store, idle_seconds=0),
            "unserved": self.model_wait.end,
            "afterwork": self.afterwork.do_all,
        }[which]()

    def hear(self) -> None:
        """Learn which deliveries are lost and which have to stop."""
        self.chore("renew")
        self.chore("listen")

    def all_chores(self) -> None:
        """Do all chores, one after the other."""
        for which in CHORES:
            self.chore(which)

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        """Do what Celery does from delivery to acknowledgement, in this thread."""
        self.taking -= 1
        token = message["headers"]["llm_delivery"].delivery.token
        request = PrivateRequest(
            Message(message, transport.Channel.__new__(transport.Channel)),
            app=app,
            task=app.tasks[message["headers"]["task"]],
            hostname=self.name,
            on_ack=lambda *_: self._qos.ack(token),
        )
        request.execute_using_pool(_InThisThread)


class _InThisThread:
    """A pool whose slot is the calling thread."""

    @staticmethod
    def apply_async(target: Any, args: Any, accept_callback: Any, callback: Any, **_: Any) -> None:
        accept_callback(0, 0.0)
        callback(target(*args, app=app))


def _new_id() -> str:
    actor = here()
    return (actor and actor.new_id) or str(uuid4())


def _listen_not(*_: Any) -> None:
    """Do nothing, where Celery subscribes to the result of a call."""


@contextmanager
def many_workers(settings: Settings) -> Iterator[None]:
    """Allow as many workers in this process as a schedule wants."""

    def given() -> Settings:
        return settings

    patches = [
        mock.patch.object(store, "lazy_settings", given),
        mock.patch.object(submit, "lazy_settings", given),
        mock.patch.object(admission, "lazy_settings", given),
        mock.patch.object(admission, "uuid4", _new_id),
        # Its calls are moves of the schedule, too.
        mock.patch.object(store.Store, "in_a_hurry", lambda self, _: self.scripts),
        mock.patch.object(type(app.backend), "on_task_call", _listen_not),
    ]
    with ExitStack() as exits:
        for patch in patches:
            exits.enter_context(patch)
        exits.enter_context(working_by(summarized))
        yield
