"""Loads and runs the Lua scripts.

Redis is given a script with what its `-- uses:` lines declare before it, and nothing else: it makes
each local anew at every call, and all of them cost 9 of 15 µs. A script is sent once, then called
by its hash; a Redis that has forgotten it gets its text and runs it in one command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

from local_llm_service.worker.store.calls import Call, Command, Script
from local_llm_service.worker.store.keys import Keys

DIRECTORY = Path(__file__).parent / "lua"
_USES = "-- uses:"
_FUNCTION = "local function "


@cache
def script_text(name: str, prefix: str, database: int = 0) -> str:
    """What Redis is given for the script `name`: the names and functions that it uses, then itself.

    Raises LookupError for a `-- uses:` line with a word that nobody defines.
    """
    functions, constants = shared_functions(), Keys(prefix, database).constants()
    parts: dict[str, str] = {}

    def define(word: str) -> None:
        if word in parts:
            return
        if word in constants:
            parts[word] = f"local {word} = {_literal(constants[word])}"
        elif word in functions:
            for used in uses(functions[word]):
                define(used)
            parts[word] = functions[word]
        else:
            raise LookupError(f"a script uses {word!r}, which nobody defines")

    script = (DIRECTORY / f"{name}.lua").read_text()
    for word in uses(script):
        define(word)
    return "\n".join([*parts.values(), script])


def uses(text: str) -> list[str]:
    """The words of the `-- uses:` lines of a script, or of one shared function."""
    lines = (line for line in text.splitlines() if line.startswith(_USES))
    return [word.strip() for line in lines for word in line.removeprefix(_USES).split(",")]


@cache
def shared_functions() -> dict[str, str]:
    """The functions of lua/shared/ by name, each with its comment.

    One stands in each paragraph of a file, that is, between empty lines.
    """
    functions = {}
    for file in sorted((DIRECTORY / "shared").glob("*.lua")):
        for paragraph in file.read_text().split("\n\n"):
            for line in paragraph.splitlines():
                if line.startswith(_FUNCTION):
                    name, _, _ = line.removeprefix(_FUNCTION).partition("(")
                    functions[name] = paragraph
    return functions


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else repr(value)


class Scripts:
    """All scripts on one Redis. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client, self.keys = client, keys
        self._hashes: dict[str, str] = {}

    def run(self, name: str, args: Sequence[Any]) -> Any:
        """Call a script; the top of its file says what it takes and returns.

        The one declared key is the prefix: a Redis Cluster runs the script where all keys are. The
        client of a cluster may stand in for `client`. As redis-py's Script, without its 10 µs:
        `.delay()` of a repeated question has few of them.
        """
        call: Callable[..., Any] = self.client.execute_command
        try:
            return call("EVALSHA", self.hash_of(name), 1, self.keys.prefix, *args)
        except redis.exceptions.NoScriptError:
            # Not SCRIPT LOAD and then EVALSHA: a SCRIPT FLUSH can come between the two.
            return call("EVAL", self.text_of(name), 1, self.keys.prefix, *args)

    def run_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Call scripts in one round trip, each (name, arguments).

        The reply of a call that Redis refuses is the error; only a Redis that is away raises.
        """
        with self.client.pipeline(transaction=False) as pipe:
            for name, args in calls:
                call: Callable[..., Any] = pipe.execute_command
                call("EVALSHA", self.hash_of(name), 1, self.keys.prefix, *args)
            replies = pipe.execute(raise_on_error=False)
        return [
            self.run(*call) if isinstance(reply, redis.exceptions.NoScriptError) else reply
            for call, reply in zip(calls, replies, strict=True)
        ]

    def answer(self, call: Call) -> Any:
        """Make a call (calls.py), blocking; hurry is a matter of the client."""
        if isinstance(call, Script):
            return self.run(call.name, call.args)
        if isinstance(call, Command):
            command: Callable[..., Any] = self.client.execute_command
            return command(*call.words)
        call.sleeper.sleep(call.seconds)
        return None

    def hash_of(self, name: str) -> str:
        """The hash by which Redis knows a script that it has."""
        known = self._hashes.get(name)
        if known is None:
            text = self.text_of(name)
            known = self._hashes[name] = hashlib.sha1(text.encode()).hexdigest()
        return known

    def text_of(self, name: str) -> str:
        """What Redis is given for a script."""
        return script_text(name, self.keys.prefix, self.keys.database)
