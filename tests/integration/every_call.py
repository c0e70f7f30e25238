"""`python -m tests.integration.every_call refused|silent|killed`: every public call, Redis away.

A producer in a process of its own makes all calls at once, each in a thread, and prints for each
how it ended and after how many seconds, as JSON. refused: nothing listens. silent: Redis takes the
connection and answers nothing. killed: Redis dies while the calls wait for its reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded.processes.ports import free_port
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

#: Waits are given this long, seconds; whatever else a call does is to end within 5.
TIMEOUT = 3
LIMIT_SECONDS = 60.0


def calls() -> dict[str, Callable[[], object]]:
    """Every public call that reads or writes Redis, by the words that a caller writes."""
    from celery import group

    from local_llm_service import AsyncClient, Client, producers, tasks
    from local_llm_service.producers.cli import main
    from local_llm_service.worker.app import app

    def command(*words: str) -> Callable[[], object]:
        return lambda: main([*words, "--json"])

    def awaited(call: Callable[[AsyncClient], Awaitable[object]]) -> Callable[[], object]:
        async def main() -> object:
            async with AsyncClient() as client:
                return await call(client)

        return lambda: asyncio.run(main())

    async def many(client: AsyncClient) -> object:
        calls = (client.generate(f"hi {number}") for number in range(50))
        return await asyncio.gather(*calls)

    several = app.GroupResult("g", [app.AsyncResult("2"), app.AsyncResult("3")])
    client = Client()
    job = client.job("1")
    messages = [{"role": "user", "content": "hi"}]
    return {
        "Client.generate": lambda: client.generate("hi"),
        "Client.summarize": lambda: client.summarize("hi"),
        "Client.compress": lambda: client.compress(messages),
        "Client.chat": lambda: client.chat(messages),
        "Client.embed": lambda: client.embed("hi"),
        "Client.extract_parameters": lambda: client.extract_parameters("hi", {"parameters": {}}),
        "Client.structured_output": lambda: client.structured_output("hi", {}),
        "generate.delay": lambda: tasks.generate.delay("hi"),
        "generate.apply_async": lambda: tasks.generate.apply_async(("hi",), {"cache": False}),
        "generate.s().apply_async": lambda: tasks.generate.s("hi").apply_async(),
        "group.apply_async": lambda: group(tasks.generate.s(x) for x in "ab").apply_async(),
        "app.send_task": lambda: app.send_task("llm.generate", ("hi",), queue="llm.normal"),
        "Client.submit": lambda: client.submit("summarize", {"context": "hi"}),
        "Job.result": lambda: job.result(TIMEOUT),
        "Job.result, one look": lambda: job.result(0),
        "Job.result without a timeout": job.result,
        "Job.result, patient": lambda: job.result(600),
        "Job.status": job.status,
        "Job.progress": job.progress,
        "Job.cancel": job.cancel,
        "Job.stream": lambda: next(job.stream()),
        "AsyncClient.generate": awaited(lambda client: client.generate("hi")),
        "AsyncClient.generate, many at once": awaited(many),
        "AsyncJob.result": awaited(lambda client: client.job("1").result(TIMEOUT)),
        "AsyncJob.result, one look": awaited(lambda client: client.job("1").result(0)),
        "AsyncJob.result without a timeout": awaited(lambda client: client.job("1").result()),
        "AsyncJob.status": awaited(lambda client: client.job("1").status()),
        "AsyncJob.cancel": awaited(lambda client: client.job("1").cancel()),
        "AsyncJob.stream": awaited(lambda client: anext(client.job("1").stream())),
        "AsyncResult.state": lambda: app.AsyncResult("1").state,
        "AsyncResult.ready": lambda: app.AsyncResult("1").ready(),
        "AsyncResult.result": lambda: app.AsyncResult("1").result,
        "AsyncResult.get": lambda: app.AsyncResult("1").get(timeout=TIMEOUT),
        "AsyncResult.forget": lambda: app.AsyncResult("1").forget(),
        "AsyncResult.revoke": lambda: app.AsyncResult("1").revoke(),
        "GroupResult.get": lambda: several.get(timeout=TIMEOUT),
        "GroupResult.join": lambda: several.join(timeout=TIMEOUT),
        "GroupResult.ready": several.ready,
        "GroupResult.save": several.save,
        "GroupResult.restore": lambda: app.GroupResult.restore("g"),
        "GroupResult.delete": several.delete,
        "producers.health": producers.health,
        "producers.models": producers.models,
        "producers.status": lambda: producers.status("1"),
        "producers.cancel": lambda: producers.cancel("1"),
        "producers.queues": producers.queues,
        "producers.stats": producers.stats,
        "local-llm generate": command("generate", "hi"),
        "local-llm generate --no-wait": command("generate", "hi", "--no-wait"),
        "local-llm generate --stream": command("generate", "hi", "--stream"),
        "local-llm stream": command("stream", "1"),
        "local-llm summarize": command("summarize", __file__),
        "local-llm result": command("result", "1"),
        "local-llm status": command("status", "1"),
        "local-llm cancel": command("cancel", "1"),
        "local-llm models": command("models"),
        "local-llm health": command("health"),
        "local-llm queues": command("queues"),
        "local-llm stats": command("stats"),
        "local-llm spending": command("spending"),
        "local-llm dead list": command("dead", "list"),
        "local-llm dead show": command("dead", "show", "1"),
        "local-llm dead replay": command("dead", "replay", "1"),
        "local-llm dead drop": command("dead", "drop", "1"),
    }


@contextlib.contextmanager
def redis_is(how: str) -> Iterator[Callable[[], None]]:
    """A Redis in this state, at REDIS_URL; call what this yields when the calls are under way."""
    server = RedisProcess(port=free_port())
    os.environ["REDIS_URL"] = server.url
    if how == "refused":
        yield lambda: None
        return
    with server:
        # A producer that has been at work: its connections are open.
        from local_llm_service.producers import queues

        queues()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            yield server.kill if how == "killed" else lambda: None
        finally:
            if server.running:
                os.kill(server.pid, signal.SIGCONT)


def ending(call: Callable[[], object]) -> str:
    """How a call ended, in a word; the error of a command is in what it prints."""
    try:
        return f"returned {call()!r}"
    except SystemExit as end:
        return f"exit {end.code}"
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
        return type(error).__name__


def main(how: str) -> None:
    """See the module."""
    found: dict[str, Any] = {}
    with redis_is(how) as happens, contextlib.redirect_stdout(io.StringIO()) as printed:

        def run(name: str, call: Callable[[], object]) -> None:
            began = time.monotonic()
            word = ending(call)
            found[name] = (word, round(time.monotonic() - began, 2))

        threads = [threading.Thread(target=run, args=one, daemon=True) for one in calls().items()]
        for thread in threads:
            thread.start()
        time.sleep(0.5)  # the requests are on their way, and no reply has come
        happens()
        end = time.monotonic() + LIMIT_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    found |= {name: ("hangs", None) for name in calls() if name not in found}
    sys.stdout.write(json.dumps({"calls": found, "printed": printed.getvalue()}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1])
