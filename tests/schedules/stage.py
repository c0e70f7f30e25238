"""The stage for schedules: the run's Redis, the scripts or a mutant of them, and both ways to play,
by hypothesis and from a line of text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import redis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import scripts as scripts_module
from local_llm_service.worker.store.scripts import DIRECTORY, script_text
from local_llm_service.worker.store.store import process_store
from tests.schedules.actors import Calls, stops_before_calls
from tests.schedules.look import Glass
from tests.schedules.machine import Schedules, Tally
from tests.schedules.money import PRICE
from tests.schedules.moves import Moves
from tests.schedules.rules import Rules
from tests.schedules.site import SETTINGS, Site
from tests.schedules.worker import many_workers


class Stage:
    """Opens sites on one Redis, one after the other."""

    def __init__(self, client: redis.Redis, calls: Calls, config: Settings) -> None:
        self._glass, self.calls = Glass(client), calls
        self.tally = Tally()
        self._open = partial(Site, self._glass, calls, config)

    def search(self, schedules: int, *, derandomize: bool) -> str | None:
        """Let hypothesis make schedules; return the first one with a fault."""

        class Here(Schedules):
            open_site = staticmethod(self._open)
            tally = self.tally

        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=schedules,
                    stateful_step_count=60,
                    deadline=None,
                    derandomize=derandomize,
                    database=None,
                    # shorten() is quicker: here a move left out changes all moves after it.
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                    print_blob=False,
                    verbosity=Verbosity.quiet,
                ),
            )
        except AssertionError:
            return Here.last
        return None

    def shorten(self, schedule: str) -> str:
        """Leave out moves for as long as the fault remains."""
        moves, size = schedule.split(", "), len(schedule.split(", ")) // 2
        while size:
            place = 0
            while place < len(moves):
                fewer = moves[:place] + moves[place + size :]
                if self.fault(", ".join(fewer)):
                    moves = fewer
                else:
                    place += size
            size //= 2
        return ", ".join(moves)

    def fault(self, schedule: str) -> str:
        """The fault of a schedule; empty when there is none."""
        try:
            self.play(schedule)
        except AssertionError as error:
            return str(error) or repr(error)
        return ""

    def play(self, schedule: str) -> None:
        """Play a schedule from a line of text. Raises AssertionError for a fault."""
        site = self._open()
        moves, rules = Moves(site), Rules(site)
        site.after_step = rules.after_step
        try:
            for move in filter(None, schedule.split(", ")):
                word, *numbers = move.split()
                moves.play(word, *map(int, numbers))
            rules.at_the_end()
        finally:
            site.close()

    def close(self) -> None:
        """End the connection that looks at Redis."""
        self._glass.close()


@contextmanager
def stage(
    client: redis.Redis, texts: dict[str, str] | None = None, *, paid: bool = False
) -> Iterator[Stage]:
    """A stage with the shipped scripts, or with `texts` in their place. `paid`: every model has a
    price, and the rules of money hold, too."""
    config = Settings(  # type: ignore[arg-type]
        **SETTINGS, model_name="fake:1b", remote_budget_usd="unlimited" if paid else None
    )
    shipped = {
        file.stem: script_text(file.stem, DEFAULT_PREFIX) for file in DIRECTORY.glob("*.lua")
    }
    # Groups are small here: each with two waiters is answered one by one.
    given = {
        name: text.replace("FAN_OUT_AT_ONCE = 100", "FAN_OUT_AT_ONCE = 1")
        for name, text in {**shipped, **(texts or {})}.items()
    }
    process_store.cache_clear()
    calls = Calls()
    logging.disable(logging.CRITICAL)
    with mock.patch.object(scripts_module, "script_text", lambda name, *_: given[name]):
        scripts = process_store().scripts
        for name in given:
            calls.scripts[client.script_load(given[name])] = name
        price = mock.patch.object(Fleet, "price", return_value=PRICE if paid else None)
        with many_workers(config), price, stops_before_calls(scripts.client, calls):
            there = Stage(client, calls, config)
            try:
                yield there
            finally:
                there.close()
                logging.disable(logging.NOTSET)
                process_store.cache_clear()
