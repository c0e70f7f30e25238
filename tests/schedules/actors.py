"""Threads that stop before every Redis call of the service until the schedule lets them go on.

Only one thread runs at a time: the schedule's own, or the actor that it has just let go. So every
order of calls can be played, and a schedule plays the same way each time.
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

#: An actor that does not stop again within this time hangs, which is a fault of the harness.
PATIENCE_SECONDS = 15.0
_ONLY_READ = ("TIME", "HGETALL", "HEXISTS", "ZRANGEBYSCORE", "SMEMBERS")


class Crashed(BaseException):
    """Ends the threads of a process that dies: no handler of the service catches it."""


class Order(Enum):
    """The order to an actor that waits before a call.

    GO: go on to the next stop. RUN: go on to the end or to the engine. LOSE: make the call, lose
    its reply and make it again, as redis-py does. DIE: die before the call. DIE_AFTER: make the
    call and die before its reply.
    """

    GO = auto()
    RUN = auto()
    LOSE = auto()
    DIE = auto()
    DIE_AFTER = auto()


class Actor:
    """One thread of a caller or a worker. `owner` is its worker, None for a caller.

    `after_call` runs after each Redis call that the actor makes while it runs without a stop.
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
        #: The id that the actor uses where the service makes up an id.
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
        """Stop here, in the actor's own thread, until the schedule gives an order."""
        if self.crashed:  # a dead process does not run its `finally` blocks
            raise Crashed
        self.at = at
        self._stopped.release()
        self._go.acquire()
        if self._order is Order.DIE:
            self.crashed = True
            raise Crashed

    def call(self, call: Callable[[], Any]) -> Any:
        """Make one Redis call, in the actor's own thread, when the schedule says so."""
        while True:
            if self.crashed:  # whoever is dead cleans nothing up
                raise Crashed
            if self._order is not Order.RUN:
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
        """Do all of the actor's work, in a thread of its own."""
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
        """Tell the schedule, from the actor's thread, that the thread is free again."""
        self._stopped.release()

    def _await(self) -> None:
        # Try twice: if the whole test run was suspended, the first wait is over at once.
        if not any(self._stopped.acquire(timeout=PATIENCE_SECONDS) for _ in range(2)):
            frame = sys._current_frames().get(self._thread)
            raise RuntimeError(f"{self.name} hangs\n{''.join(traceback.format_stack(frame))}")


class _Thread:
    """Runs actors one after the other: starting a thread for each takes longer than its work."""

    def __init__(self) -> None:
        self._actor: Actor | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._run, name="actor", daemon=True).start()

    def begin(self, actor: Actor) -> None:
        """Run this actor now."""
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
    """The actor whose thread this is; None in the schedule's own thread."""
    return getattr(_here, "actor", None)


class Calls:
    """Counts the service's Redis calls by script and reply."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.total = 0
        self.refused: list[str] = []
        #: Whether the last call may have changed anything.
        self.changed = True
        #: Hash of a script → its name.
        self.scripts: dict[str, str] = {}

    def note(self, args: tuple[Any, ...], reply: Any) -> None:
        """Count one call of an actor."""
        self.total += 1
        self.changed |= str(args[0]) not in _ONLY_READ
        name = self.scripts.get(str(args[1]), "?") if args[0] == "EVALSHA" else str(args[0])
        word = reply[0] if isinstance(reply, list) and reply else reply
        if name in ("submit", "claim", "settle", "cancel", "expired", "sift", "put", "release"):
            name = f"{name} {word}"
        self.seen[name] += 1
        if name.startswith("submit"):
            # The clock, in ms, orders the jobs: no two may fall into the same millisecond.
            time.sleep(0.0011)


@contextmanager
def stops_before_calls(of: redis.Redis, calls: Calls) -> Iterator[None]:
    """Make every call of an actor on the client `of` wait for the schedule."""
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
