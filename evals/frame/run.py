"""Runs one set: what no record answers is asked, in blocks of items, every side in turn."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from evals.frame.eval_set import EvalSet, Item, Outcome, Side, Spent
from evals.frame.here import Here
from evals.frame.plain_ollama import Refused
from evals.frame.records import Records
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    InvalidSetting,
    ModelMissing,
    OllamaUnreachable,
    QueueFull,
    ServiceError,
)

#: One side asks so many items before the next one does. Both sides see the same times of a busy
#: machine; and where their options make Ollama load the model again, it does so once for a block.
BLOCK = 8
#: Of the site, not of an answer: the run ends, and the next one asks again.
_OF_THE_SITE = (
    BrokerUnreachable,
    BrokerUnsafe,
    InvalidSetting,
    ModelMissing,
    OllamaUnreachable,
    QueueFull,
)
_MODEL_MISSING = 404
#: Between two lines that say how far a run is.
SAY_SECONDS = 15.0


class SiteFailed(Exception):
    """Redis, Ollama or the model is not there; what was asked so far is kept."""


def chosen(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, at least those of one key: all groups of a key go together.

    Their order is that of a hash of the key, so a small limit is a mixture, and a larger one keeps
    all of it. ValueError where two items have the same place.
    """
    by_key: dict[str, list[Item]] = {}
    for item in items:
        by_key.setdefault(item.key, []).append(item)
    if len({(item.key, item.group) for item in items}) < len(items):
        raise ValueError("two items have the same key and group")
    kept: list[Item] = []
    for key in sorted(by_key, key=_mixed):
        if limit is not None and kept and len(kept) + len(by_key[key]) > limit:
            break
        kept += by_key[key]
    return kept


def _mixed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass
class Run:
    """One set, its chosen items, and what is known of them. `say` gets lines for people."""

    one: EvalSet
    items: Sequence[Item]
    records: Records
    say: Callable[[str], None]

    def left(self) -> list[tuple[str, Side, Item]]:
        """What is to be asked, in the order in which it is."""
        return [
            (name, side, item)
            for start in range(0, len(self.items), BLOCK)
            for name, side in self.one.sides.items()
            for item in self.items[start : start + BLOCK]
            if (item.key, item.group, name) not in self.records
        ]

    async def ask(self, here: Here) -> None:
        """Ask what is left. Raises SiteFailed."""
        left = self.left()
        asked = len(self.one.sides) * len(self.items)
        self.say(
            f"{self.one.name}: {len(self.items)} items, {len(self.one.sides)} sides; "
            f"{asked - len(left)} of {asked} answers are known{self._estimate(left)}"
        )
        began = said = time.monotonic()
        for place, (name, side, item) in enumerate(left, 1):
            self.records.add(item, name, await _outcome(side, here, item))
            now = time.monotonic()
            if now - said > SAY_SECONDS and place < len(left):
                rest = self._estimate(left[place:], (now - began) / place)
                self.say(f"  {place} of {len(left)}{rest}")
                said = now

    def _estimate(self, left: Sequence[tuple[str, Side, Item]], so_far: float | None = None) -> str:
        """How long the rest takes; empty while that is unknown.

        By the seconds that an answer and its judging took `so_far`, once each side has answered in
        this run; before that by what the records say of answers.
        """
        known = {record.side for record in self.records.all()}
        if not left or any(name not in known for name in self.one.sides):
            return ""
        took = [record.outcome.spent.seconds for record in self.records.all()]
        each = sum(took) / len(took) if so_far is None else so_far
        return f", about {_span(each * len(left))} left"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


async def _outcome(side: Side, here: Here, item: Item) -> Outcome:
    began = time.monotonic()
    try:
        return await side(here, item)
    except _OF_THE_SITE as error:
        raise SiteFailed(f"{error} {error.hint}") from error
    except httpx.TransportError as error:
        raise SiteFailed(f"Ollama does not answer: {type(error).__name__}") from error
    except ServiceError as error:
        failure = error.code
    except Refused as error:
        if error.status == _MODEL_MISSING:
            raise SiteFailed(f"Ollama has no model {here.plain.model}") from error
        failure = f"http_{error.status}"
    # What a failed answer had cost in tokens, its error does not say.
    return Outcome({}, Spent(seconds=time.monotonic() - began), failure=failure)
