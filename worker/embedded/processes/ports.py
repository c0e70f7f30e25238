"""TCP ports on the loopback interface: one that is free, and whether a web server answers there."""

import http.client
import socket

PROBE_TIMEOUT_SECONDS = 1.0


def free_port(preferred: int = 0) -> int:
    """A TCP port on 127.0.0.1 that nobody holds at this moment; `preferred` if that is one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers_http(port: int, path: str) -> bool:
    """True if a web server on 127.0.0.1 answers GET `path` with status 200 within a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
