"""The driver of `AsyncClient.map`: awaits items and outcomes at the same time (bulk.py decides)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from local_llm_service.producers.bulk import Bulk, Step
from local_llm_service.producers.loop_state import LoopState
from local_llm_service.worker.listening.loop_listener import LoopSleeper


async def map_items(
    here: Callable[[], LoopState],
    kind: str,
    items: Iterable[Any] | AsyncIterable[Any],
    window: int | None,
    ordered: bool,
    options: Mapping[str, Any],
) -> AsyncIterator[Any]:
    """See `Client.map`; `here` is what the client has in the loop that iterates."""
    state = here()
    bulk = Bulk(state, kind, options, window, ordered)
    with state.listener.hear(()) as ear:
        async with _reading(bulk, items, ear.sleeper) as read:
            while (step := await state.drive(bulk.step(ear))) is not Step.END:
                if isinstance(step, Step):
                    read()
                else:
                    index, outcome = step
                    yield outcome if ordered else (index, outcome)


@asynccontextmanager
async def _reading(
    bulk: Bulk, items: Iterable[Any] | AsyncIterable[Any], sleeper: LoopSleeper
) -> AsyncIterator[Callable[[], None]]:
    """A function that has one more item read: at once, or by a task that wakes `sleeper`."""
    if not isinstance(items, AsyncIterable):
        iterator = iter(items)
        yield lambda: _read_now(bulk, iterator)
        return
    wanted = asyncio.Event()
    # One task for all items, as an asynchronous generator may be bound to the task that runs it.
    reader = asyncio.create_task(_read_all(bulk, items, wanted, sleeper))
    try:
        yield wanted.set
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader


def _read_now(bulk: Bulk, iterator: Iterator[Any]) -> None:
    try:
        item = next(iterator)
    except StopIteration:
        bulk.finish()
    else:
        bulk.give(item)


async def _read_all(
    bulk: Bulk, items: AsyncIterable[Any], wanted: asyncio.Event, sleeper: LoopSleeper
) -> None:
    iterator = aiter(items)
    try:
        while True:
            await wanted.wait()
            wanted.clear()
            bulk.give(await anext(iterator))
            sleeper.wake()
    except StopAsyncIteration:
        bulk.finish()
    except BaseException as error:  # the caller's iterator may raise anything, cancels too
        bulk.finish(error)
        if not isinstance(error, Exception):
            raise
    finally:
        sleeper.wake()
