"""The texts of runs in Redis: a worker adds to one while the model writes, and readers look at it.

One string for each run, and a message for each addition: who has just read up to there needs no
look, and everybody else reads the string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

import redis

from local_llm_service.worker.store.scripts import Scripts


class Written(IntEnum):
    """What write_text.lua did: added the text, refused a run that is over, or found that what was
    to be there is not."""

    ADDED = 1
    OVER = 0
    GONE = -1


@dataclass(frozen=True, slots=True)
class TextAddition:
    """What comes after the first `at_bytes` (UTF-8), which are `at_characters`, of a run's text.

    `fingerprint` is that of the group that the job leads, or empty. `is_complete`: nothing follows.
    `number` counts the texts of the run: who reads begins anew with each.
    """

    task_id: str
    token: str
    fingerprint: str
    at_bytes: int
    at_characters: int
    text: bytes = field(repr=False)
    is_complete: bool
    number: int = 0

    @property
    def args(self) -> list[Any]:
        """The arguments of write_text.lua."""
        place = [self.task_id, self.token, self.fingerprint, self.at_bytes, self.at_characters]
        return [*place, self.text, int(self.is_complete), self.number]


@dataclass(frozen=True, slots=True)
class TextLook:
    """What one look for a reader finds; see read_text.lua.

    `text` is what comes after the first `from_bytes` of `run`, as far as it is written. `run` is
    empty where there is no text that counts. `result` is Celery's, and empty until the job has it.
    """

    state: str
    has_ended: bool
    result: str = field(repr=False)
    fingerprint: str
    run: str
    is_complete: bool
    from_bytes: int
    text: str = field(repr=False)

    @classmethod
    def of(cls, reply: Sequence[Any]) -> Self:
        """Read what read_text.lua returns."""
        state, has_ended, result, fingerprint, run, is_complete, from_bytes, text = reply
        return cls(
            state=state,
            has_ended=bool(has_ended),
            result=result,
            fingerprint=fingerprint,
            run=run,
            is_complete=bool(is_complete),
            from_bytes=from_bytes,
            text=text,
        )

    @property
    def is_unknown(self) -> bool:
        """Whether there is no such job, or no more than the fact that it has ended."""
        return not self.result and (self.has_ended or not self.state)


class Texts:
    """A worker's moves of texts; a reader's is `Moves.read_text`.

    Every call is one round trip and raises redis-py's errors.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def write_text(self, addition: TextAddition) -> Written:
        """Add to a run's text and tell its readers."""
        return Written(self._scripts.run("write_text", addition.args))

    def write_texts(self, additions: Sequence[TextAddition]) -> list[Written | redis.RedisError]:
        """The same for several runs in one round trip; one that Redis refuses harms no other."""
        calls = [("write_text", addition.args) for addition in additions]
        replies = self._scripts.run_all(calls)
        return [one if isinstance(one, redis.RedisError) else Written(one) for one in replies]
