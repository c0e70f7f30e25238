"""Loads and runs the Lua scripts: one file each, after the names of names.py and shared.lua.

A script is sent once and then called by its hash; redis-py sends it again to a Redis that has
forgotten it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from worker import names

DIRECTORY = Path(__file__).parent / "scripts"
_SHARED = "shared"


@cache
def script_text(name: str) -> str:
    """What Redis is given for the script `name`."""
    parts = [names.lua_prelude()]
    parts += [(DIRECTORY / f"{part}.lua").read_text() for part in (_SHARED, name)]
    return "\n".join(parts)


class Scripts:
    """All scripts on one Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._scripts: dict[str, Script] = {}

    def run(self, name: str, args: Sequence[Any], keys: Sequence[str] = ()) -> Any:
        """Call a script; what it takes and returns is said at the top of its file."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self.client.register_script(script_text(name))
        return script(keys=keys, args=args)
