"""The same question to several engines at once: one that hangs holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from local_llm_service.worker.engine.members import Member

T = TypeVar("T")


def side_by_side(ask: Callable[[Member], T], members: Sequence[Member]) -> list[T]:
    """The answers in the order of the members. Raises the first one's error."""
    if len(members) == 1:
        return [ask(members[0])]
    with ThreadPoolExecutor(len(members), thread_name_prefix="look") as pool:
        return list(pool.map(ask, members))
