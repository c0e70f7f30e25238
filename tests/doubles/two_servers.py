"""A scripted Ollama at home and a scripted paid server, between which routes choose."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.openai_server import OpenAiServer, Reply

LOCAL, REMOTE = "fake:1b", "large"
#: A prompt that the router takes for complex, by its length.
LONG = "Consider this. " * 600
_numbers = count(1)


class TwoServers:
    """Both servers; `ask` gives them a new question, with what each is to say."""

    def __init__(self, local: FakeOllama, remote: OpenAiServer) -> None:
        self.local, self.remote = local, remote
        self._local: dict[str, Script] = {}
        self._remote: dict[str, Reply] = {}
        local.respond = lambda body: _of(self._local, body, Script())
        remote.respond = lambda body: _of(self._remote, body, Reply())

    def question(
        self,
        local: Script | str = "At home.",
        remote: Reply | str = "Far away.",
        *,
        long: bool = False,
    ) -> str:
        """A question that is answered so."""
        name = f"Question {next(_numbers)}:"
        self._local[name] = Script((local,)) if isinstance(local, str) else local
        self._remote[name] = Reply((remote,)) if isinstance(remote, str) else remote
        return f"{name} {LONG if long else ''}why?"

    def asked(self, question: str) -> tuple[int, int]:
        """How often it was asked at home, and how often it left."""
        name = question.partition(":")[0] + ":"
        return _count(self.local.seen, name), _count(self.remote.requests, name)


def _of(scripts: dict[str, Any], body: dict[str, Any], default: Any) -> Any:
    said = json.dumps(body["messages"])
    return next((script for name, script in scripts.items() if name in said), default)


def _count(seen: list[Any], name: str) -> int:
    return sum(name in json.dumps(one.body["messages"]) for one in seen)


def engines_file(path: Path, local: FakeOllama, remote: OpenAiServer) -> str:
    """Write the file of both, with a route of each way; returns its path."""
    both = {"local": LOCAL, "remote": REMOTE}
    far = {
        "name": "far", "kind": "openai_compatible", "url": remote.url, "leaves_the_house": True,
        "models": [{"name": REMOTE, "prompt_usd": 2.5, "completion_usd": 10, "revision": "1"}],
    }  # fmt: skip
    content = {
        "engines": [
            {"name": "here", "kind": "ollama", "url": local.host, "models": [{"name": LOCAL}]},
            far,
        ],
        "routes": [
            {"name": "auto", **both},
            {"name": "plain", **both, "cascade": False},
            {"name": "sure", **both, "min_mean_logprob": -1.0},
        ],
    }
    path.write_text(json.dumps(content))
    return str(path)
