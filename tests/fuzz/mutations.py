"""Bodies that are nearly right: an example with one thing changed. Pure, and the same each time."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

#: In each text of a changed body: no error may repeat it.
CANARY = "zq7canary"

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", " ", [], {}),
    *(CANARY, f"{CANARY}\u0000", f"\u202e{CANARY}\U0001f600", CANARY * 40, [CANARY], {"a": CANARY}),
    *([[[[[CANARY]]]]], {"type": CANARY}, {"$ref": "#"}, [None], [{}], [[]], {"": {}}),
)
_NAMES = ("model", "stream", "priority", "n", "tools", "format", "options", "extra", "", "$schema")


def mutated(example: Any, times: int, seed: int) -> Iterator[Any]:
    """So many changed copies of an example."""
    chance = random.Random(seed)
    for _ in range(times):
        whole = [copy.deepcopy(example)]
        for _ in range(chance.choice((1, 1, 1, 2))):
            _change(whole, chance)
        yield whole[0]


def _change(whole: list[Any], chance: random.Random) -> None:
    places = list(_places(whole))
    parent, key = chance.choice(places)
    how = chance.randrange(10)
    if how == 0 and parent is not whole:
        del parent[key]
    elif how == 1 and isinstance(parent[key], dict):
        parent[key][chance.choice(_NAMES)] = copy.deepcopy(chance.choice(_VALUES))
    elif how == 2 and isinstance(parent[key], list) and parent[key]:
        parent[key].append(copy.deepcopy(parent[key][0]))
    else:
        parent[key] = copy.deepcopy(chance.choice(_VALUES))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(items):
        yield value, key
        if isinstance(one, dict | list):
            yield from _places(one)
