"""Starts a llama runner for the Ollama server, talks to it over HTTP, and ends it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Self

import httpx

from local_llm_service.worker.embedded.die_with_parent import guarded
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"


RUNNER = "local_llm_service.worker.embedded.ollama_api.llama_runner"


class LlamaClient:
    """A runner process and a connection pool to it. Make one with `start`."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        # No timeouts: an answer takes as long as it takes, and the caller may cancel it.
        self._http = httpx.AsyncClient(base_url=address, timeout=None, trust_env=False)
        self._broke_off = False

    @classmethod
    async def start(cls, profile: RunnerProfile, slots: int) -> Self:
        """Start a runner and return when it is ready; ApiError 500 if it cannot load.

        Cancelling ends the half-started process. Call it on the main thread's loop (see
        `die_with_parent`).
        """
        arguments = [profile.slot_tokens, slots, int(profile.shift), _threads()]
        arguments += [int(profile.embeds)]
        process = await asyncio.create_subprocess_exec(
            *guarded([sys.executable, "-m", RUNNER]),
            *(str(argument) for argument in arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            address = (await process.stdout.readline()).decode().strip()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if not address:
            raise ApiError(500, f"llama runner ended with status {await process.wait()}")
        return cls(process, address)

    @property
    def alive(self) -> bool:
        """False once the runner process has ended, or has broken an exchange off.

        Of a killed process with many threads, the connections close before the kernel says that
        it has ended (seen on a busy machine).
        """
        if self._broke_off or self._process.returncode is not None:
            return False
        try:  # asyncio learns of the end a little later; WNOWAIT leaves the status to asyncio
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return ended is None

    @property
    def pid(self) -> int:
        """The runner's process id."""
        return self._process.pid

    async def close(self) -> None:
        """End the runner, whatever it is doing, and wait until it has ended."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._http.aclose()

    async def tokenize(self, text: str) -> list[int]:
        """Split `text` into tokens; special tokens count as one."""
        try:
            reply = await self._http.post(
                "/tokenize", json={"content": text, "parse_special": True}
            )
        except httpx.TransportError:
            raise self._died() from None
        return [int(token) for token in reply.json()["tokens"]]

    async def embed(self, text: str | list[int]) -> list[float]:
        """The vector of a text, or of its tokens, of length 1; of a runner for vectors."""
        try:
            reply = await self._http.post("/embedding", json={"content": text})
        except httpx.TransportError:
            raise self._died() from None
        if reply.status_code != 200:
            raise ApiError(reply.status_code, reply.text.strip())
        vector = reply.json()[0]["embedding"]
        return list(vector[0] if isinstance(vector[0], list) else vector)

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of one completion; the last has `stop` true.

        Closing this iterator closes the connection, and that stops the generation. Raises
        ApiError: a refusal with llama.cpp's status and whole body, 500 when the runner died.
        `return_progress` makes the runner write after each batch of the prompt, because it
        notices a closed connection only when it writes (measured: without it, a cancelled prompt
        of 3800 tokens held its slot for more than 20 s).
        """
        wanted = {**body, "stream": True, "return_progress": True}
        try:
            async with self._http.stream("POST", "/completion", json=wanted) as reply:
                if reply.status_code != 200:
                    refusal = (await reply.aread()).decode(errors="replace").strip()
                    raise ApiError(reply.status_code, refusal, late=True)
                async with aclosing(_events(reply)) as events:
                    async for event in events:
                        yield event
                        if event.get("stop"):
                            return
            raise self._died()
        except httpx.TransportError:
            raise self._died() from None

    def _died(self) -> ApiError:
        self._broke_off = True
        return ApiError(500, RUNNER_DIED)


async def _events(reply: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the server-sent events of `reply`; ApiError for one that is an error."""
    async for line in reply.aiter_lines():
        name, _, payload = line.partition(": ")
        if name != "data" or payload == "[DONE]":
            continue
        event = json.loads(payload)
        if "error" in event:
            raise ApiError(int(event["error"].get("code", 500)), payload, late=True)
        yield event


def _threads() -> int:
    return int(os.environ.get("EMBEDDED_THREADS") or 1)
