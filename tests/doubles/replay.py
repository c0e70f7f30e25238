"""A server that answers each request with one recorded exchange, byte for byte."""

from __future__ import annotations

import socketserver
import threading
from typing import Any, Self


class Replay(socketserver.ThreadingTCPServer):
    """Starts with `with Replay(response) as server`; `server.host` is its address.

    `response` is that of a recording (tests/wire, tests/wire_openai). `asked` are the paths.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: Replay

    def handle(self) -> None:
        """Read a request and write the recorded bytes of its answer."""
        while self._read():
            response = self.server.response
            if response["status"] is None:
                return  # closed without a byte
            self._head(response)
            if response.get("lines"):
                for line in response["lines"]:
                    text = line.encode() + b"\n"
                    self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                if not response["body_properly_ended"]:
                    return
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.wfile.write(response["body_text"].encode())

    def _read(self) -> bool:
        self.server.asked.append(self.rfile.readline().decode().strip())
        size = 0
        for line in iter(self.rfile.readline, b"\r\n"):
            if not line:
                return False
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        self.rfile.read(size)
        return bool(self.server.asked[-1])

    def _head(self, response: dict[str, Any]) -> None:
        headers = {key.lower(): value for key, value in response["headers"]}
        length = len((response.get("body_text") or "").encode())
        body = (
            "Transfer-Encoding: chunked" if response.get("lines") else f"Content-Length: {length}"
        )
        more = f"Retry-After: {headers['retry-after']}\r\n" if "retry-after" in headers else ""
        head = f"HTTP/1.1 {response['status']} {response.get('reason', 'X')}\r\n"
        self.wfile.write(
            f"{head}Content-Type: {headers['content-type']}\r\n{more}{body}\r\n\r\n".encode()
        )
