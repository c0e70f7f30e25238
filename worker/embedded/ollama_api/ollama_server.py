r"""An Ollama for tests and first steps: its API over llama.cpp with a model of 135M parameters.

    python -m local_llm_service.worker.embedded.ollama_api.ollama_server \
        [--host H] [--port 0] [--port-file PATH]

It prints the port, or writes it to PATH. It never logs a prompt or an answer.
"""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

from tornado import httpserver, netutil, web

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api import handlers
from local_llm_service.worker.embedded.ollama_api.model_host import ModelHost

NOT_EMBEDDED = (
    r"/api/(?:generate|embeddings|pull|push|create|copy|delete|blobs/.+|me|signout|status"
    r"|web_search|web_fetch|experimental/.+)",
    r"/v1/.+",
)


def application(hosts: handlers.Hosts, running: set[asyncio.Task[None]]) -> web.Application:
    """Build the routes. The tasks that answer a chat or embed texts are kept in `running`."""
    routes: list[Any] = [
        (r"/", handlers.Root),
        (r"/api/version", handlers.Version),
        (r"/api/tags", handlers.Tags),
        (r"/api/show", handlers.Show),
        (r"/api/ps", handlers.Ps, {"hosts": hosts}),
        (r"/api/chat", handlers.Chat, {"hosts": hosts, "running": running}),
        (r"/api/embed", handlers.Embed, {"hosts": hosts, "running": running}),
    ]
    routes += [(pattern, handlers.NotEmbedded) for pattern in NOT_EMBEDDED]
    return web.Application(routes, default_handler_class=handlers.NotFound)


async def serve(address: str, port: int, port_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Answers under way break off then, as in Ollama."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    hosts = handlers.Hosts(ModelHost(), ModelHost())
    running: set[asyncio.Task[None]] = set()
    server = httpserver.HTTPServer(application(hosts, running))
    sockets = netutil.bind_sockets(port, address)
    server.add_sockets(sockets)
    _announce(sockets[0].getsockname()[1], port_file)
    digest = asyncio.ensure_future(asyncio.to_thread(smollm2.digest))
    await stop.wait()
    server.stop()
    for task in running:
        task.cancel()
    await asyncio.gather(digest, *running, return_exceptions=True)
    await hosts.close()


def _announce(port: int, port_file: Path | None) -> None:
    if port_file is None:
        print(port, flush=True)
        return
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(port))
    os.replace(partial, port_file)  # whoever reads it never sees half of it


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve(arguments.host, arguments.port, arguments.port_file))


if __name__ == "__main__":
    main()
