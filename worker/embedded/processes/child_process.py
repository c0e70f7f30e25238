"""One child process with a directory and a log: start, wait until it answers, stop, start again.

Its subclasses say what to run and how to tell that it answers.
"""

import os
import shutil
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from local_llm_service.worker.embedded.die_with_parent import guarded
from local_llm_service.worker.embedded.errors import EmbeddedUnavailable

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.01
LOG_TAIL_CHARACTERS = 2000


class ChildProcess:
    """A program that runs while this object is started, and never longer than this process.

    Start it from a thread that outlives it (see `die_with_parent`). Without `directory` it has
    a temporary one, which survives `stop` and `kill` and is deleted at the end of the `with`
    block or of this process.
    """

    name = "child"

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._given_directory = Path(directory) if directory is not None else None
        self._temporary: weakref.finalize[..., ChildProcess] | None = None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._has_begun = False

    @property
    def directory(self) -> Path:
        """Where the child keeps its files and `<name>.log`; made at the first use."""
        if self._directory is None:
            self._directory = self._given_directory or Path(tempfile.mkdtemp(prefix="local-llm-"))
            self._directory.mkdir(parents=True, exist_ok=True)
            if self._given_directory is None:
                self._temporary = weakref.finalize(self, shutil.rmtree, self._directory, True)
        return self._directory

    @property
    def log_path(self) -> Path:
        """Everything the child wrote to stdout and stderr, over all its starts."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The child's process id; RuntimeError while it is not started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True from a successful start until the child ends, for whatever reason."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the child and return when it answers; nothing happens if it runs.

        EmbeddedUnavailable: it ended, or did not answer within START_TIMEOUT_SECONDS.
        """
        if not self.running:
            self.begin()
        if self._has_begun:
            self._has_begun = False
            self._wait_until_ready()
        return self

    def begin(self) -> None:
        """Start the child, which does not run, and return at once; `start` waits for it then."""
        self._spawn()
        self._has_begun = True

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL after STOP_TIMEOUT_SECONDS."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary()
            self._temporary = self._directory = None

    def command(self) -> list[str]:
        """The program and its arguments; EmbeddedUnavailable if something is not installed."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The child's whole environment."""
        return dict(os.environ)

    def answers(self) -> bool:
        """True once the child itself (not somebody else on its port) serves requests."""
        raise NotImplementedError

    def log_tail(self) -> str:
        """The end of the log, for an error message."""
        try:
            return self.log_path.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()
        except OSError:
            return ""

    def _spawn(self) -> None:
        command = guarded(self.command())
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self.environment(),
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.answers():
            if not self.running:
                code = self._process.returncode if self._process is not None else None
                self._process = None
                raise EmbeddedUnavailable(
                    f"{self.name} ended with status {code} while it started:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedUnavailable(
                    f"{self.name} did not answer within {START_TIMEOUT_SECONDS:.0f} s:\n"
                    f"{self.log_tail()}"
                )
            time.sleep(POLL_SECONDS)
