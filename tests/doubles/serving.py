"""How the scripted servers end: every connection is cut, as a killed server does it."""

from __future__ import annotations

import asyncio
import threading


def cut_off(
    server: asyncio.Server, loop: asyncio.AbstractEventLoop, thread: threading.Thread
) -> None:
    """Close `server`, end all that runs in its loop, and end the loop and its `thread`."""

    async def close() -> None:
        server.close()
        # Until nothing is left: a connection that was just accepted gets its task a little later.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
