"""Worker processes that are forked from one that has imported everything: a tenth of the CPU.

Everything after the imports is as in `python -m local_llm_service.worker`: a process with a pid, an
environment, a log, and signals of its own. Tests of the start itself use WorkerProcess.

Run as a module, this is the server: it reads one JSON line for each child on stdin, and writes
lines `start PID` and `end PID STATUS` on stdout.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded import die_with_parent
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

ROOT = Path(__file__).parents[2]


class ForkedWorker(WorkerProcess):
    """A worker process that starts quickly."""

    def _spawn(self) -> None:
        if "PYTHONPATH" in self._environment:  # it wants modules that the server does not have
            super()._spawn()
            return
        self._process = fork_server().fork(
            {
                "environment": self.environment(),
                "arguments": self.arguments(),
                "log": str(self.log_path),
                "directory": str(self.directory),
            }
        )


class Child:
    """What ChildProcess needs of subprocess.Popen, for a process whose parent is the server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, status: int) -> None:
        """Note how it ended."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The server process of this test run, and the children that it has forked."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.doubles.forked_worker"]
        self._server = subprocess.Popen(
            die_with_parent.guarded(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        )
        self._children: dict[int, Child] = {}
        self._forked: list[Child] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, name="fork-server", daemon=True).start()

    def fork(self, wanted: dict[str, Any]) -> Any:
        """Start a child and return it."""
        assert self._server.stdin is not None
        with self._changed:
            self._server.stdin.write(json.dumps(wanted) + "\n")
            self._server.stdin.flush()
            assert self._changed.wait_for(lambda: self._forked, timeout=30), "the fork server died"
            return self._forked.pop()

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            word, pid, *status = line.split()
            with self._changed:
                if word == "start":
                    self._forked.append(self._children.setdefault(int(pid), Child(int(pid))))
                    self._changed.notify_all()
                else:
                    self._children.pop(int(pid)).end(int(status[0]))


@lru_cache(maxsize=1)
def fork_server() -> ForkServer:
    """The one of this test run."""
    return ForkServer()


def _serve() -> dict[str, Any] | None:
    """Fork until stdin ends: None. Returns in each child with what it is to be."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    rest = b""
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if key.fd == woken:
                _reap()
                continue
            if not data:
                return None
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    os.close(woken)
                    os.close(waker)
                    wanted: dict[str, Any] = json.loads(line)
                    return wanted
                _say(f"start {pid}")


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(f"end {pid} {status}")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _become(wanted: dict[str, Any]) -> list[str]:
    """Take the environment, directory and log of a child; return its arguments."""
    die_with_parent._ask_kernel()
    log = os.open(wanted["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    os.chdir(wanted["directory"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    arguments: list[str] = wanted["arguments"]
    sys.argv = ["worker", *arguments]
    return arguments


def _import_all() -> None:

    import local_llm_service.tasks
    import local_llm_service.tasks.run
    import local_llm_service.worker.__main__
    import local_llm_service.worker.celery_ext.consumer
    import local_llm_service.worker.celery_ext.control
    import local_llm_service.worker.celery_ext.pool
    import local_llm_service.worker.celery_ext.request
    import local_llm_service.worker.celery_ext.result_backend
    import local_llm_service.worker.celery_ext.steps
    import local_llm_service.worker.celery_ext.transport
    import local_llm_service.worker.engine.ollama.engine  # noqa: F401


if __name__ == "__main__":
    _import_all()
    child = _serve()
    if child is not None:
        from local_llm_service.worker.__main__ import main

        sys.exit(main(_become(child)))
