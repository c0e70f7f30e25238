"""Loads and runs the Lua scripts: one file each, after what it uses of key names and shared.lua.

Only what it uses: Redis makes each local anew at every call, and all of them cost 9 of 15 µs. A
script is sent once and then called by its hash; redis-py sends it again to a Redis that has
forgotten it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

from local_llm_service.worker.store.keys import Keys

DIRECTORY = Path(__file__).parent / "lua"
_WORD = re.compile(r"[A-Za-z_]+")


@cache
def script_text(name: str, prefix: str) -> str:
    """What Redis is given for the script `name`."""
    script = (DIRECTORY / f"{name}.lua").read_text()
    needed = set(_WORD.findall(script))
    constants = [
        (word, f"local {word} = {value if isinstance(value, int) else repr(value)}")
        for word, value in Keys(prefix).constants().items()
    ]
    parts = [script]
    for word, text in reversed([*constants, *_shared()]):
        if word in needed:
            parts.append(text)
            needed.update(_WORD.findall(text))
    return "\n".join(reversed(parts))


def _shared() -> Iterator[tuple[str, str]]:
    """The functions of shared.lua with their names, in their order: later ones use earlier ones."""
    text = (DIRECTORY / "shared.lua").read_text()
    for match in re.finditer(r"^local function (\w+)(?:.* end$|(?s:.*?)^end$)", text, re.M):
        yield match.group(1), match.group(0)


class Scripts:
    """All scripts on one Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client, self.keys = client, keys
        self._hashes: dict[str, str] = {}

    def run(self, name: str, args: Sequence[Any]) -> Any:
        """Call a script; what it takes and returns is said at the top of its file.

        The one declared key is the prefix: a Redis Cluster runs the script where all keys are. As
        redis-py's Script, without its 10 µs: `.delay()` of a repeated question has few of them.
        """
        known = self._hashes.get(name)
        if known is None:
            text = script_text(name, self.keys.prefix)
            known = self._hashes[name] = hashlib.sha1(text.encode()).hexdigest()
        call: Callable[..., Any] = self.client.execute_command
        try:
            return call("EVALSHA", known, 1, self.keys.prefix, *args)
        except redis.exceptions.NoScriptError:
            self.client.script_load(script_text(name, self.keys.prefix))
            return call("EVALSHA", known, 1, self.keys.prefix, *args)
