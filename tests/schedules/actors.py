"""Threads that stop before every Redis call of the service until the schedule lets them go on.

One thread runs at a time: the schedule's, or the actor that it has just let go. So every order of
calls can be played, and the same schedule plays the same way each time.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

import redis

#: An actor that does not stop again by itself within this time hangs: a fault of the harness.
PATIENCE_SECONDS = 15.0
_ONLY_READ = ("TIME", "HGETALL", "HEXISTS", "ZRANGEBYSCORE", "SMEMBERS")


class Crashed(BaseException):
    """Ends the threads of a process that dies: no handler of the service catches it."""


class Order(Enum):
    """What an actor that waits before a call is to do.

    RUN: go on to the end, or to the engine. LOSE: the call is made, its reply is lost, and redis-py
    makes it again. DIE: before the call. DIE_AFTER: the call is made and nobody hears the reply.
    """

    GO = auto()
    RUN = auto()
    LOSE = auto()
    DIE = auto()
    DIE_AFTER = auto()


class Actor:
    """One thread of a caller or of a worker. `owner` is its worker; None for a caller.

    `after_call` is called after each Redis call that it makes while it runs without a stop.
    """

    def __init__(
        self, name: str, work: Callable[[], None], owner: Any, after_call: Callable[[], None]
    ) -> None:
        self.name, self.owner = name, owner
        self._work, self._after_call = work, after_call
        self._go, self._stopped = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stopped.acquire()
        self._order = Order.GO
        #: "call" before a Redis call, "engine" while the model works, "" when it has ended.
        self.at = ""
        self._thread = 0
        self.generation: Any = None
        #: What it takes where the service makes up an id.
        self.new_id = ""
        self.crashed = False
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"{self.name}({self.at})"

    def start(self) -> None:
        """Run to the first stop."""
        (_idle.pop() if _idle else _Thread()).begin(self)
        self._await()

    def go(self, order: Order = Order.GO) -> None:
        """Run to the next stop."""
        self._order = order
        self._go.release()
        self._await()

    def wait(self, at: str) -> None:
        """In the actor's own thread: stop here until the schedule says how to go on."""
        if self.crashed:  # what runs in a `finally` of a dead process does not happen
            raise Crashed
        self.at = at
        self._stopped.release()
        self._go.acquire()
        if self._order is Order.DIE:
            self.crashed = True
            raise Crashed

    def call(self, call: Callable[[], Any]) -> Any:
        """In the actor's own thread: make one Redis call when the schedule says so."""
        while True:
            if self._order is not Order.RUN or self.crashed:
                self.wait("call")
            reply = call()
            if self._order is Order.RUN:
                self._after_call()
            if self._order is Order.DIE_AFTER:
                self.crashed = True
                raise Crashed
            if self._order is not Order.LOSE:
                return reply

    def run(self) -> None:
        """In a thread: all of it."""
        _here.actor, self._thread = self, threading.get_ident()
        try:
            self._work()
        except Crashed:
            self.crashed = True
        except BaseException as error:  # noqa: BLE001  # the schedule's thread reports it
            self.error = error
        self.at = ""
        _here.actor = None

    def ended(self) -> None:
        """In its thread, which is free again."""
        self._stopped.release()

    def _await(self) -> None:
        # Twice: if the whole test run was suspended, the first is over at once.
        if not any(self._stopped.acquire(timeout=PATIENCE_SECONDS) for _ in range(2)):
            frame = sys._current_frames().get(self._thread)
            raise RuntimeError(f"{self.name} hangs\n{''.join(traceback.format_stack(frame))}")


class _Thread:
    """Runs actors, one after the other: to start a thread for each takes longer than its work."""

    def __init__(self) -> None:
        self._actor: Actor | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._run, name="actor", daemon=True).start()

    def begin(self, actor: Actor) -> None:
        """Run this one now."""
        self._actor = actor
        self._wake.release()

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            assert self._actor is not None
            actor, self._actor = self._actor, None
            actor.run()
            _idle.append(self)
            actor.ended()


_idle: list[_Thread] = []
_here = threading.local()


def here() -> Actor | None:
    """The actor whose thread this is; None in the schedule's own."""
    return getattr(_here, "actor", None)


class Calls:
    """Counts what the service asked of Redis and what it was told, by script."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.total = 0
        self.refused: list[str] = []
        #: Whether the last call may have changed anything.
        self.changed = True
        #: Hash of a script → its name.
        self.scripts: dict[str, str] = {}

    def note(self, args: tuple[Any, ...], reply: Any) -> None:
        """One call of an actor."""
        self.total += 1
        self.changed |= str(args[0]) not in _ONLY_READ
        name = self.scripts.get(str(args[1]), "?") if args[0] == "EVALSHA" else str(args[0])
        word = reply[0] if isinstance(reply, list) and reply else reply
        if name in ("submit", "claim", "settle", "cancel", "requeue_follower", "put", "release"):
            name = f"{name} {word}"
        self.seen[name] += 1
        if name.startswith("submit"):
            # Who was there first is told by the clock, in ms: no two jobs in the same one.
            time.sleep(0.0011)


@contextmanager
def stops_before_calls(of: redis.Redis, calls: Calls) -> Iterator[None]:
    """Every call that an actor makes on the client `of` waits for the schedule."""
    original = redis.Redis.execute_command

    def execute_command(self: redis.Redis, *args: Any, **options: Any) -> Any:
        actor = here()
        if actor is None or self is not of:
            return original(self, *args, **options)

        def call() -> Any:
            try:
                reply = original(self, *args, **options)
            except redis.ResponseError as error:
                calls.refused.append(f"{args[0]}: {error}")
                raise
            calls.note(args, reply)
            return reply

        return actor.call(call)

    redis.Redis.execute_command = execute_command  # type: ignore[method-assign]
    try:
        yield
    finally:
        redis.Redis.execute_command = original  # type: ignore[method-assign]
