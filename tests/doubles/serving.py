"""How the scripted servers end: every connection is cut, as a killed server does it."""

from __future__ import annotations

import asyncio
import threading


def cut_off(
    server: asyncio.Server,
    tasks: set[asyncio.Task[None]],
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
) -> None:
    """Close `server`, cancel the `tasks` of its connections, and end its loop and `thread`."""

    async def close() -> None:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
