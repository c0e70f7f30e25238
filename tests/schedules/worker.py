"""One worker of a schedule. All but the engine is shipped code; what a process has for itself (what
it holds, its name, its models) is found through the thread that asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import uuid4

from kombu.transport.virtual import Message

from local_llm_service.tasks import base, sharing
from local_llm_service.worker import engine as engine_module
from local_llm_service.worker.app import app
from local_llm_service.worker.celery_ext import result_backend, transport
from local_llm_service.worker.celery_ext.request import PrivateRequest
from local_llm_service.worker.intake import circuit_breaker
from local_llm_service.worker.intake import model_catalog as serving
from local_llm_service.worker.intake.circuit_breaker import Breaker
from local_llm_service.worker.intake.publisher import Publisher
from local_llm_service.worker.lease import heartbeat, in_flight
from local_llm_service.worker.lease.heartbeat import Keeper
from local_llm_service.worker.lease.in_flight import Holdings
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys, local
from tests.schedules.actors import here
from tests.schedules.engine import Engine

#: Every module that knows what its process holds.
_HOLD = (
    *(in_flight, heartbeat, result_backend),
    *(transport, base, sharing),
)
#: What a worker's keeper does, one at a time.
CHORES = ("renew", "listen", "wake", "expire", "sweep", "answer")


class Channel(transport.Channel):
    """The shipped channel on no connection: it takes, and hands over to a slot."""

    connection_errors = ()

    def __init__(self, deliver: Callable[[dict[str, Any], str], None]) -> None:
        self.client = SimpleNamespace(parse_response=lambda *_, **__: None, connection=None)
        self.connection = SimpleNamespace(_deliver=deliver)
        self._in_poll = None

    def _job_queues(self) -> list[str]:
        return list(keys.QUEUES)


class Inbox:
    """What was published on the channel of cancels and this worker has not heard yet."""

    def __init__(self) -> None:
        self.ids: deque[str] = deque()

    def get_message(self, timeout: float) -> dict[str, str] | None:
        """The next one, without waiting."""
        return {"data": self.ids.popleft()} if self.ids else None

    def close(self) -> None:
        """Nothing to close."""


class Worker:
    """`digest`: which version of the model it has."""

    def __init__(self, name: str, slots: int, settings: Settings, digest: int, begin: Any) -> None:
        self.name, self.slots, self.digest = name, slots, digest
        self.alive, self.draining = True, False
        self.holdings = Holdings()
        self.engine = Engine(self, begin)
        self.serving = serving.Serving(settings, self.engine)  # type: ignore[arg-type]
        self.breaker = Breaker(self.engine)  # type: ignore[arg-type]
        self.keeper = Keeper(settings, local.jobs(), app.backend)
        self.inbox = Inbox()
        self.keeper._listener = self.inbox  # type: ignore[assignment]
        self.nonces = transport._Take()
        self.nonces._process = name
        self._qos = transport.QoS.__new__(transport.QoS)
        self._qos._quick_ack = lambda _: None
        self._publisher = Publisher(name, slots, settings, self.engine, self.serving)  # type: ignore[arg-type]
        #: Takes that have not come back: the consumer's thread makes one at a time.
        self.taking = 0
        self.publish()

    def publish(self) -> None:
        """Say what it serves, as every few seconds. A dead one is taken off the list."""
        if self.alive:
            self.serving.note(self.engine.models())
        self._publisher._publish("{}" if self.alive else "")

    def take(self) -> None:
        """Look into the queues once, and run what is found to its end."""
        self.taking += 1
        try:
            Channel(self._deliver)._brpop_read()
        except Empty:
            self.taking -= 1

    def chore(self, which: str) -> None:
        """One of the keeper's."""
        keeper = self.keeper
        for task_id, token in self.holdings.due_releases():
            keeper._release(task_id, token)
        {
            "renew": keeper._renew,
            "listen": keeper._listen,
            "wake": lambda: keeper._jobs.wake_deferred(keys.queue_of("normal")),
            "expire": keeper._overdue.expire,
            "sweep": keeper._overdue.sweep,
            "answer": keeper._overdue.answer,
        }[which]()

    def hear(self) -> None:
        """Learn what it has lost and what is to stop."""
        self.chore("renew")
        self.chore("listen")

    def all_chores(self) -> None:
        """One after the other."""
        for which in CHORES:
            self.chore(which)

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        """What Celery does from a delivered message to its acknowledgement, in this thread."""
        self.taking -= 1
        token = message["headers"]["llm_token"]
        request = PrivateRequest(
            Message(message, transport.Channel.__new__(transport.Channel)),
            app=app,
            task=app.tasks[message["headers"]["task"]],
            hostname=self.name,
            on_ack=lambda *_: self._qos.ack(token),
        )
        request.execute_using_pool(_InThisThread)


class _InThisThread:
    """A pool whose slot is the thread that asks."""

    @staticmethod
    def apply_async(target: Any, args: Any, accept_callback: Any, callback: Any, **_: Any) -> None:
        accept_callback(0, 0.0)
        callback(target(*args, app=app))


class _Mine:
    """Stands where a process has one of something: that of the worker whose thread asks."""

    def __init__(self, name: str, of_a_caller: Any) -> None:
        self._name, self._of_a_caller = name, of_a_caller

    def __call__(self) -> Any:
        actor = here()
        owner = None if actor is None else actor.owner
        return self._of_a_caller if owner is None else getattr(owner, self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self(), name)

    def __len__(self) -> int:
        return len(self())


def _new_id() -> str:
    actor = here()
    return (actor and actor.new_id) or str(uuid4())


def _listen_not(*_: Any) -> None:
    """In place of what subscribes to the result of a call."""


@contextmanager
def many_workers(settings: Settings) -> Iterator[None]:
    """In this process there are as many workers as a schedule wants."""

    def given() -> Settings:
        return settings

    holdings = _Mine("holdings", Holdings())
    patches = [mock.patch.object(module, "HOLDINGS", holdings) for module in _HOLD]
    patches += [
        mock.patch.object(transport, "_TAKE", _Mine("nonces", None)),
        mock.patch.object(transport, "worker_name", _Mine("name", "")),
        mock.patch.object(serving, "get_serving", _Mine("serving", None)),
        mock.patch.object(engine_module, "get_engine", _Mine("engine", None)),
        mock.patch.object(circuit_breaker, "get_breaker", _Mine("breaker", None)),
        mock.patch("local_llm_service.worker.settings.get_settings", given),
        mock.patch.object(base, "_settings", given),
        mock.patch.object(base, "uuid4", _new_id),
        mock.patch.object(type(app.backend), "on_task_call", _listen_not),
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
