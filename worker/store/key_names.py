"""How one name in Redis gets the prefix of its service; keys.py has the names."""

from __future__ import annotations

from typing import Any, Protocol, overload


class Prefixed(Protocol):
    """What a name is read from: `Keys`."""

    prefix: str
    database: int


class KeyName:
    """One name under the prefix of the `Keys` that it is read from."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, keys: None, owner: type) -> KeyName: ...
    @overload
    def __get__(self, keys: Prefixed, owner: type) -> str: ...
    def __get__(self, keys: Prefixed | None, owner: type) -> str | KeyName:
        return self if keys is None else keys.prefix + self.name


class ChannelName(KeyName):
    """One channel of a database. Redis's channels know no databases, so its name has to."""

    def __get__(self, keys: Prefixed | None, owner: type) -> Any:
        return self if keys is None else f"{keys.prefix}/{keys.database}.{self.name}"
