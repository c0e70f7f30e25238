"""One checkout's end of the comparison; the checkout's interpreter runs `python side.py` in it.

It keeps a whole site warm (Redis, three workers of four slots, a sleeping engine, producers) and
answers calls from __main__.py, one JSON line each. All of its imports come from that checkout, so
it uses only code that both checkouts have.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# This file's own folder belongs to the other checkout.
sys.path[0] = os.getcwd()

from benchmarks.dedupe.child import Child, serve  # noqa: E402
from benchmarks.dedupe.repeats import one_run  # noqa: E402
from benchmarks.dedupe.site import Site  # noqa: E402

ENGINE_SECONDS = {"hits": 0.01, "batch": 0.1}


class Side:
    """The calls that __main__.py makes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ours: Child = site.producer("ours")
        self._other: Child = site.producer("ours")

    def warm_up(self, prompts: list[str]) -> None:
        """Answer each text once, and make each kind of call once."""
        self._site.engine.call("take", seconds=ENGINE_SECONDS["hits"])
        self._ours.call("batch", prompts=prompts)
        self._ours.call("hits", prompts=prompts, rounds=len(prompts))
        self._other.call("read", ids=self._ours.call("submit", prompts=prompts))

    def hits(self, prompts: list[str], rounds: int) -> dict[str, list[float]]:
        """Seconds of cache hits, and of bare GETs between them."""
        found: dict[str, list[float]] = self._ours.call("hits", prompts=prompts, rounds=rounds)
        return found

    def read(self, prompts: list[str]) -> dict[str, list[float]]:
        """Seconds to read answers by id in another process."""
        ids = self._ours.call("submit", prompts=prompts)
        found: dict[str, list[float]] = self._other.call("read", ids=ids)
        return found

    def batch(self, prompts: list[str]) -> dict[str, Any]:
        """Wall time and CPU of a batch without repeats."""
        self._site.engine.call("take", seconds=ENGINE_SECONDS["batch"])
        return one_run(self._site, "ours", self._ours, prompts)


def main() -> None:
    """Serve until stdin ends."""
    with Site(sides=("ours",)) as site:
        side = Side(site)
        calls = ("warm_up", "hits", "read", "batch")
        serve({name: getattr(side, name) for name in calls})


if __name__ == "__main__":
    main()
