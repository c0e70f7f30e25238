"""How the scripted servers end: every connection is cut, as a killed server does it."""

from __future__ import annotations

import asyncio
import threading


def cut_off(
    server: asyncio.Server, loop: asyncio.AbstractEventLoop, thread: threading.Thread
) -> None:
    """Close `server`, end all that runs in its loop, and end the loop and its `thread`."""

    async def close() -> None:
        # A connection that was just accepted has its task a little later. Before that it cannot be
        # ended: neither a closed server nor a task that never ran closes its socket.
        for listening in server.sockets:
            loop.remove_reader(listening)
        await _let_begin()
        server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _let_begin()

    asyncio.run_coroutine_threadsafe(close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


async def _let_begin() -> None:
    for _ in range(5):  # rounds of the loop from accept to the first step of a connection's task
        await asyncio.sleep(0)
