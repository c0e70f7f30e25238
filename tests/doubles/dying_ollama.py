"""A scripted Ollama that dies as recorded (tests/wire/0.24), with everything that runs in it.

The runner's death takes all prompts of the model: those in prompt evaluation get the culprit's own
500, those that are being answered a last line with an error. The death of `ollama serve` closes
every connection without a word, and nobody listens until its supervisor has started it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.ollama import FakeOllama, Script, _line
from tests.doubles.serving import plain

#: schema_crashes_runner_stream.json, and for its neighbours schema_crashes_runner_neighbour_*.json
RUNNER_DIED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal "
    "error, check ollama server logs for details"
)
RUNNER_DIED_MIDWAY = (
    "an error was encountered while running the model: signal arrived during cgo execution"
)


@dataclass
class Death(Script):
    """This request kills the "runner" or "serve", `first_seconds` after it came."""

    kills: str = "runner"


class _Writer:
    """A writer that knows whether the answer has begun."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.has_begun = False

    def write(self, data: bytes) -> None:
        """Pass bytes on."""
        self.has_begun = True
        self._writer.write(data)

    async def drain(self) -> None:
        """Pass the wait on."""
        await self._writer.drain()


@dataclass
class _Answering:
    """One request under way; `runner_died` with it."""

    task: asyncio.Task[bool]
    body: dict[str, Any]
    writer: _Writer
    runner_died: bool = False


@dataclass
class DyingOllama(FakeOllama):
    """A FakeOllama whose script may be a Death. `down_seconds`: until serve listens again."""

    down_seconds: float = 0.2
    runner_deaths: int = 0
    serve_deaths: int = 0
    #: Called at each death, on the server's thread, with the bodies of the requests that it ended.
    on_death: Callable[[list[dict[str, Any]]], None] = lambda _: None
    _answering: list[_Answering] = field(default_factory=list)

    async def _play(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        task = asyncio.current_task()
        assert task is not None
        mine = _Answering(task, body, _Writer(writer))
        self._answering.append(mine)
        try:
            if not isinstance(script, Death):
                return await super()._play(script, body, mine.writer)
            await asyncio.sleep(script.first_seconds)
            self.on_death([one.body for one in self._answering])
            if script.kills == "serve":
                self._end_serve()
                return False
            self._end_runner()
            return await self._end_answer(mine)
        except asyncio.CancelledError:
            if not mine.runner_died:
                raise  # the client left, or the server ends
            task.uncancel()
            return await self._end_answer(mine)
        finally:
            self._answering.remove(mine)

    def _end_runner(self) -> None:
        self.runner_deaths += 1
        for one in self._answering:
            one.runner_died = True
            if one.task is not asyncio.current_task():
                one.task.cancel()

    async def _end_answer(self, one: _Answering) -> bool:
        """The last words to a request whose runner has died."""
        if one.writer.has_begun:
            _line(one.writer, {"error": RUNNER_DIED_MIDWAY})
            one.writer.write(b"0\r\n\r\n")
        else:
            plain(one.writer, 500, {"error": RUNNER_DIED})
        with contextlib.suppress(ConnectionError):
            await one.writer.drain()
        return True

    def _end_serve(self) -> None:
        self.serve_deaths += 1
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        self._loop.create_task(self._rise())

    async def _rise(self) -> None:
        """Listen again, as under a supervisor."""
        await asyncio.sleep(self.down_seconds)
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, reuse_address=True
        )
