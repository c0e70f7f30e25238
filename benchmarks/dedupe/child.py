"""A child process that answers calls: one JSON line in on stdin, one JSON line out on stdout.

`Child(module, environment)` is the parent's end, `serve(functions)` the child's. The child dies
with the thread that started it, or when its stdin closes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from local_llm_service.worker.embedded.die_with_parent import guarded

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 5.0


class Child:
    """`with Child("benchmarks.dedupe.engine", {...}) as child: child.call("name", word=1)`."""

    def __init__(self, module: str, environment: Mapping[str, str], *arguments: str) -> None:
        self._command = guarded([sys.executable, "-m", module, *arguments])
        self._environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The child's pid."""
        return self._process.pid

    def ask(self, name: str, **words: Any) -> None:
        """Begin a call; `answer` returns its result. Only one call can be under way."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, words]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return the result of the call under way. Raises RuntimeError if the child has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a child ended: {' '.join(self._command[-3:])}")
        return json.loads(line)

    def call(self, name: str, **words: Any) -> Any:
        """Call a function of the child and wait for its result."""
        self.ask(name, **words)
        return self.answer()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls until stdin ends. Output of the functions goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, words = json.loads(line)
        answers.write(json.dumps(functions[name](**words)) + "\n")
        answers.flush()
