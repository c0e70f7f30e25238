"""A client that leaves the embedded server ends its generation, however its leaving is noticed.

The conformance suite found it: three of 120 generations that were stopped went on to their end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

from local_llm_service.worker.embedded.ollama_api import completion, handlers

BODY = b'{"model": "smollm2:135m", "messages": [{"role": "user", "content": "Hi"}]}'


class Left(handlers.Chat):
    """A chat whose client has gone when the first record is to be sent."""

    def __init__(self, *, write_fails: bool) -> None:
        self.request: Any = SimpleNamespace(body=BODY)
        self.hosts: Any = SimpleNamespace(text=None)
        self.running, self._write_fails = set(), write_fails

    def set_header(self, *_: Any) -> None:
        """Nobody reads it."""

    def write(self, _: Any) -> None:
        """Nobody reads it."""

    def detach(self) -> Any:
        """A connection to close."""
        return SimpleNamespace(close=lambda: None)

    async def flush(self, *_: Any) -> None:  # type: ignore[override]
        """The socket is noticed to be closed, here or by the loop."""
        if self._write_fails:
            raise StreamClosedError
        self.on_connection_close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("write_fails", [True, False])
def test_the_runner_is_told_though_the_end_is_noticed_twice(
    monkeypatch: pytest.MonkeyPatch, write_fails: bool
) -> None:
    """A write fails, and then the loop says that the connection is closed, while the runner's
    connection is being closed, too; or the loop is the first."""
    handler, ended = Left(write_fails=write_fails), []

    async def chat(*_: Any) -> AsyncGenerator[dict[str, Any]]:
        try:
            while True:
                yield {"done": False}
        finally:
            if write_fails:
                asyncio.get_running_loop().call_soon(handler.on_connection_close)
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("the runner's connection is closed")

    monkeypatch.setattr(completion, "chat", chat)
    asyncio.run(handler.post())
    assert ended
