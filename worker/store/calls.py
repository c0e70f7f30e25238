"""Calls to Redis as values, so that one logic serves blocking callers and event loops.

Logic that asks Redis is a generator: it yields calls, and gets each reply, or an error of redis-py,
at the same place. A driver makes the calls: `Store.drive`, and in an event loop `LoopState.drive`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")


if TYPE_CHECKING:

    class Sleeper(Protocol):
        """Something that a driver sleeps on until somebody wakes it (worker/listening/)."""

        def sleep(self, seconds: float) -> Awaitable[None] | None:
            """Return when it is woken, or after `seconds`; awaitable in an event loop."""


# Plain classes, as each decorated one costs every producer's import a third of a millisecond.
class Script:
    """A call of the script `name`. In a hurry it is tried once, for HURRY_SECONDS."""

    def __init__(self, name: str, args: Sequence[Any], in_a_hurry: bool = False) -> None:
        self.name, self.args, self.in_a_hurry = name, args, in_a_hurry


class Command:
    """A command in words, as redis-py's `execute_command` takes it; its reply as that returns it.

    In a hurry it is tried once, for HURRY_SECONDS.
    """

    def __init__(self, words: tuple[Any, ...], in_a_hurry: bool = False) -> None:
        self.words, self.in_a_hurry = words, in_a_hurry


class Rest:
    """Not a call to Redis: sleep until the sleeper is woken, `seconds` at most. No reply."""

    def __init__(self, sleeper: Sleeper, seconds: float) -> None:
        self.sleeper, self.seconds = sleeper, seconds


Call: TypeAlias = Script | Command | Rest
#: Logic that yields calls and returns a T.
Calls: TypeAlias = Generator[Call, Any, T]


def drive(calls: Calls[T], answer: Callable[[Call], Any]) -> T:
    """Run logic to its end by an `answer` that blocks. Whatever that raises, the logic gets first.

    Raises what the logic raises.
    """
    try:
        call = next(calls)
        while True:
            try:
                reply = answer(call)
            except BaseException as error:  # noqa: BLE001  # the logic decides
                call = calls.throw(error)
            else:
                call = calls.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        calls.close()


async def drive_async(calls: Calls[T], answer: Callable[[Call], Awaitable[Any]]) -> T:
    """The same where answers are awaited. A task that is cancelled lets the logic end itself."""
    try:
        call = next(calls)
        while True:
            try:
                reply = await answer(call)
            except BaseException as error:  # noqa: BLE001  # the logic decides
                call = calls.throw(error)
            else:
                call = calls.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        calls.close()
