"""The HTTP side: one tornado handler for each route of Ollama that the worker needs."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from tornado import web
from tornado.iostream import StreamClosedError

from local_llm_service.worker.embedded.ollama_api import (
    chat_request,
    completion,
    embedding,
    go_json,
    model_info,
)
from local_llm_service.worker.embedded.ollama_api.model_host import ModelHost
from local_llm_service.worker.embedded.ollama_api.wire import ApiError, dumps

#: The Ollama whose recordings this server is compared with; the rest says that it is another.
VERSION = "0.33.0-rc2+embedded"
JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
GO_BUFFER_BYTES = 2048  # net/http counts the length of what fits into it
_SHOW: go_json.Shape = {"model": ((str,), "string"), "name": ((str,), "string")}


@dataclass(frozen=True)
class Hosts:
    """The runner that writes, and the one that makes vectors; each is loaded at its first use."""

    text: ModelHost
    vectors: ModelHost

    async def close(self) -> None:
        """End both now."""
        await self.text.close()
        await self.vectors.close()


class Handler(web.RequestHandler):
    """Refuses as Ollama does: with a JSON object whose one field is `error`, or with plain text."""

    hosts: Hosts

    def initialize(self, hosts: Hosts | None = None) -> None:
        """`hosts` are given to the handlers that need a model."""
        if hosts is not None:
            self.hosts = hosts

    def set_default_headers(self) -> None:
        """No Server header: Ollama sends none."""
        self.clear_header("Server")

    def compute_etag(self) -> None:
        """No ETag: Ollama sends none."""

    def answer(self, body: dict[str, Any], status: int = 200, content_type: str = JSON) -> None:
        """Send the whole response; a long one goes out in chunks, as from Go's server."""
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.write(dumps(body))
        if sum(map(len, self._write_buffer)) > GO_BUFFER_BYTES:
            self.flush()
        self.finish()

    def refuse(self, error: ApiError, streamed: bool = False) -> None:
        """Answer with an error, before any other byte was sent."""
        late = streamed and error.late
        self.set_status(error.status)
        self.set_header("Content-Type", "application/json" if late else JSON)
        self.write(dumps({"error": error.message}))
        if late:
            self.flush()  # without a length: chunked
        self.finish()

    def write_error(self, status_code: int, **_: Any) -> None:
        """Send plain text for a wrong method or route, JSON for a fault of this server."""
        if status_code in (404, 405):
            self.set_header("Content-Type", "text/plain")
            name = "method not allowed" if status_code == 405 else "page not found"
            if status_code == 405:
                self.set_header("Allow", ", ".join(self._methods()))
            self.finish(f"{status_code} {name}")
        else:
            self.answer({"error": "internal error of the embedded server"}, status_code)

    def _methods(self) -> list[str]:
        base = web.RequestHandler
        names = (name for name in ("GET", "HEAD", "POST", "PUT", "DELETE"))
        return [n for n in names if getattr(type(self), n.lower()) is not getattr(base, n.lower())]


class NotFound(Handler):
    """Every route that Ollama does not have."""

    def prepare(self) -> None:
        """Refuse before the method matters."""
        raise web.HTTPError(404)


class Root(Handler):
    """GET and HEAD /: says that the server runs."""

    def get(self) -> None:
        """Answer with a fixed text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Ollama is running")

    head = get


class Version(Handler):
    """GET and HEAD /api/version."""

    def get(self) -> None:
        """Tell the version of the Ollama that this server imitates."""
        self.answer({"version": VERSION})

    head = get


class Tags(Handler):
    """GET and HEAD /api/tags."""

    async def get(self) -> None:
        """List the models; the first call reads the whole model file for its digest."""
        self.answer(await asyncio.to_thread(model_info.tags))

    head = get


class Ps(Handler):
    """GET /api/ps."""

    async def get(self) -> None:
        """Tell what is loaded."""
        hosts = (self.hosts.text, self.hosts.vectors)
        self.answer(await asyncio.to_thread(model_info.ps, hosts))


class Show(Handler):
    """POST /api/show."""

    async def post(self) -> None:
        """Tell all about the model."""
        try:
            given = go_json.read_object(self.request.body, "ShowRequest", _SHOW)
            name = given.get("model") or given.get("name", "")
            model = chat_request.checked_model(name)
        except ApiError as error:
            self.refuse(error)
        else:
            self.answer(await asyncio.to_thread(model_info.show, model))


class NotEmbedded(Handler):
    """The rest of Ollama's routes."""

    def prepare(self) -> None:
        """Refuse every method."""
        route = f"{self.request.method} {self.request.path}"
        self.answer({"error": f"the embedded server has no {route}: run a real Ollama for it"}, 501)


class Answering(Handler):
    """A request that may take long: it ends with its connection, and with the server."""

    running: set[asyncio.Task[None]]
    _task: asyncio.Task[None] | None = None
    _is_leaving = False

    def initialize(self, hosts: Hosts | None = None, running: Any = None) -> None:
        """`running` holds the tasks of all answers, so that a shutdown can end them."""
        super().initialize(hosts)
        self.running = running

    async def post(self) -> None:
        """Answer in a task of its own, which the end of the connection cancels."""
        self._task = asyncio.ensure_future(self._respond())
        self.running.add(self._task)
        try:
            await self._task
        except (asyncio.CancelledError, StreamClosedError):
            # Nobody reads any more, or the server stops: cut the body without a last chunk.
            self.detach().close()
        finally:
            self.running.discard(self._task)

    def on_connection_close(self) -> None:
        """The client went away: stop the generation, unless it stops already: a second end would
        cut the clean-up short, and the runner would write on to the answer's end."""
        if self._task is not None and not self._is_leaving:
            self._task.cancel()

    async def _respond(self) -> None:
        raise NotImplementedError


class Embed(Answering):
    """POST /api/embed."""

    async def _respond(self) -> None:
        try:
            request = embedding.parse_embed(self.request.body)
            hosts = self.hosts
            host = hosts.vectors if request.model.can("embedding") else hosts.text
            self.answer(await embedding.embed(request, host))
        except ApiError as error:
            self.refuse(error)


class Chat(Answering):
    """POST /api/chat."""

    async def _respond(self) -> None:
        try:
            request = chat_request.parse_chat(self.request.body)
        except ApiError as error:
            self.refuse(error)
            return
        # Where there is nothing to generate, the answer is one plain record, even when streamed.
        streamed = request.stream and bool(request.messages)
        try:
            await (self._stream(request) if streamed else self._whole(request))
        except ApiError as error:
            if self._headers_written:
                self.finish(dumps({"error": error.message}) + "\n")
            else:
                self.refuse(error, streamed)

    async def _stream(self, request: chat_request.ChatRequest) -> None:
        self.set_header("Content-Type", NDJSON)
        async with aclosing(completion.chat(request, self.hosts.text)) as records:
            async for record in records:
                self.write(dumps(record) + "\n")
                try:
                    await self.flush()
                except StreamClosedError:
                    self._is_leaving = True
                    raise
        self.finish()

    async def _whole(self, request: chat_request.ChatRequest) -> None:
        texts: list[str] = []
        logprobs: list[Any] = []
        tool_calls: list[Any] = []
        record: dict[str, Any] = {}
        async with aclosing(completion.chat(request, self.hosts.text)) as records:
            async for record in records:
                texts.append(record["message"]["content"])
                tool_calls += record["message"].get("tool_calls", [])
                logprobs += record.pop("logprobs", [])
        record["message"] = {"role": "assistant", "content": "".join(texts)}
        if tool_calls:
            record["message"]["tool_calls"] = tool_calls
        if logprobs:
            record["logprobs"] = logprobs
        self.answer(record)
