"""What a set is: items, a way to ask this service, and naive ways to ask the same model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evals.frame.data import Data
    from evals.frame.here import Here

#: The side of this service in records and tables.
OURS = "this service"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a set: the sum of points over the sum of what was possible.

    `unit` is "%" where points are counted of those possible, else the points' unit for each one
    possible, as "tokens". `better` says which direction is the good one.
    """

    name: str
    about: str
    unit: str = "%"
    better: Literal["more", "less"] = "more"


@dataclass(frozen=True, slots=True)
class Score:
    """`points` out of `of`: 1 of 1 for an answer that is right, 3 of 7 facts that were kept."""

    points: float
    of: float = 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a set, asked of every side, and one unit of the bootstrap.

    What belongs together, such as all questions about one conversation, is one item: else the
    intervals come out too small. `group` is the row in the table, as "200 tokens"; items with the
    same key in other groups are run together. `possible` has the most points by measure (default
    1), which a side that failed did not get.
    """

    key: str
    data: Any
    group: str = ""
    possible: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spent:
    """What an answer took, over all of its steps. `seconds`: of the caller, less model loading."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one side made of an item. `failure` is the code of a typed error, or a set's own word.

    A measure that `scores` lacks counts no points of those possible. `text` is kept in the record
    so that others can score it anew.
    """

    scores: Mapping[str, Score]
    spent: Spent
    text: str = ""
    failure: str | None = None


#: Asks one item. A ServiceError or a refusal of the model server becomes a failure in the record.
Side = Callable[["Here", Item], Awaitable[Outcome]]


@dataclass(frozen=True)
class EvalSet:
    """One set; a module in `evals/sets/` holds it as `SET`.

    `items(data)` may raise DataMissing. `ours` and each of `baselines` (the first is the usual
    naive way) ask one item. `kinds` are those that `ours` asks: their template versions, and
    `version`, which is that of items, scoring and baselines, decide which old records still count.
    `measures`: the first one is the headline. `worker` has settings of the worker's process, by
    name, where this set needs others than the default. `limit` is the number of items where the
    command line gives none.
    """

    name: str
    about: str
    source: str
    licence: str
    kinds: tuple[str, ...]
    measures: tuple[Measure, ...]
    items: Callable[[Data], Iterable[Item]]
    ours: Side
    baselines: Mapping[str, Side]
    version: int = 1
    worker: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None

    @property
    def sides(self) -> Mapping[str, Side]:
        """All sides by name, this service first."""
        return {OURS: self.ours, **self.baselines}
