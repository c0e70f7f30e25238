"""The models of a worker's engines, each with its revision: one word that goes into fingerprints.

A revision holds the model's digest, so that a model that was pulled again never answers from old
cache entries, and those settings of the worker that can change an answer. Where an engine tells no
digest, an operator's word stands for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.engine.engines import members_of
from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.engine.side_by_side import side_by_side
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.intake.revisions import model_revision, route_revision
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings

#: How long the catalog counts as fresh. A look costs about 2 ms, too much for every job. For this
#: long after a pull, an old entry can still answer, or a new answer go under the old digest.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """One engine's models, as last seen: their full names, each with its revision if it has one."""

    revisions: dict[str, str | None]
    at: float


class ModelCatalog:
    """The models of this worker's engines, as last seen."""

    def __init__(self, settings: Settings, engine: Engine, fleet: Fleet | None = None) -> None:
        """Without a `fleet`: the one that the settings name."""
        self._settings = settings
        self.fleet = Fleet.of(settings) if fleet is None else fleet
        self.members = members_of(engine, self.fleet)
        self._of_name = {one.name: one for one in self.members}
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        #: Engines that their breakers probe: no job is to wait for another look at them.
        self._probed: set[str] = set()
        self._names: tuple[str, ...] | None = None
        #: Set when something has changed, for whoever publishes it.
        self.changed = threading.Event()

    def note(self, models: list[Model], engine: str = "") -> None:
        """Record the models that an engine has now; without its name, the first one."""
        member = self._of_name.get(engine, self.members[0])
        revisions = {
            full_name(one.name): model_revision(self._settings, member.entry, one) for one in models
        }
        with self._lock:
            before = self._seen.get(member.name)
            if before is None or before.revisions != revisions:
                self.changed.set()
            self._seen[member.name] = _Seen(revisions, time.monotonic())
            there = [self._seen[one.name] for one in self.members if one.name in self._seen]
            self._names = tuple(name for seen in there for name in seen.revisions)

    def note_away(self, engine: str = "", *, is_probed: bool = False) -> None:
        """Record that an engine does not answer; it may come back with other models.

        Until then no model can be pulled, and callers can go on using old answers. One that
        `is_probed` is not asked before `note_back`.
        """
        member = self._of_name.get(engine, self.members[0])
        with self._lock:
            if is_probed:
                self._probed.add(member.name)
            seen = self._seen.get(member.name)
            if seen is not None:
                self._seen[member.name] = _Seen(seen.revisions, time.monotonic() - FRESH_SECONDS)

    def note_back(self, engine: str) -> None:
        """Record that an engine answers again."""
        with self._lock:
            self._probed.discard(engine)

    def look(self, engine: str | None = None) -> None:
        """Ask an engine, or all, for their models now; one that does not answer changes nothing."""
        found = [one for one in self.members if engine in (None, one.name)]
        side_by_side(self._look_at, found)

    def first_look(self) -> None:
        """Look at all engines; of several, one that hangs does not hold up a worker's start."""
        if len(self.members) == 1:
            self.look()
        else:
            threading.Thread(target=self.look, name="first-look", daemon=True).start()

    def names(self) -> tuple[str, ...] | None:
        """The full names of all models that were there at the last look; None before the first.

        Those of an engine that is away are among them.
        """
        return self._names

    def names_of(self, engine: str) -> Collection[str]:
        """The full names of one engine's models at its last look; none before."""
        seen = self._seen.get(engine)
        return () if seen is None else seen.revisions.keys()

    def revision(self, model: str) -> str | None:
        """The revision of a model or a route, by any name; None if it is not known, or if the cache
        is off.

        What was seen of an engine elsewhere holds while that is away: a route goes on at home.
        """
        if not self._settings.enable_cache:
            return None
        route = self.fleet.route(model)
        for name in (model,) if route is None else filter(None, (route.local, route.remote)):
            member = self._of_name[self.fleet.engine_of(name).name]
            if self._is_fresh(member) or (member.entry.leaves_the_house and self._has_seen(member)):
                continue
            if member.name in self._probed or not self._look_at(member):
                return None
        with self._lock:
            return self._known(model)

    def table(self) -> dict[str, Any]:
        """For publish.lua: the default model and the revisions of all that has one, by name."""
        default = full_name(self._settings.model_name)
        with self._lock:
            known = {name: self._known(name) for name in self._all_names()}
        is_on = self._settings.enable_cache
        models = {name: found for name, found in known.items() if is_on and found is not None}
        return {"default": default, "models": models}

    def without_revision(self) -> list[str]:
        """The models whose answers are not cached, as nobody says when they change."""
        with self._lock:
            return [
                name
                for seen in self._seen.values()
                for name, revision in seen.revisions.items()
                if revision is None
            ]

    def _all_names(self) -> Iterator[str]:
        yield from self._names or ()
        yield from map(full_name, self.fleet.aliases)
        yield from (full_name(one.name) for one in self.fleet.routes)

    def _known(self, name: str) -> str | None:
        """The revision of a model or a route as far as it has been seen; under the lock."""
        route = self.fleet.route(name)
        if route is None:
            return self._known_model(name)
        local = self._known_model(route.local)
        remote = None if route.remote is None else self._known_model(route.remote)
        if local is None or (route.remote is not None and remote is None):
            return None
        return route_revision(self._settings, self.fleet, route, local, remote)

    def _known_model(self, name: str) -> str | None:
        seen = self._seen.get(self.fleet.engine_of(name).name)
        return None if seen is None else seen.revisions.get(self.fleet.model_of(name))

    def _is_fresh(self, member: Member) -> bool:
        with self._lock:
            seen = self._seen.get(member.name)
        return seen is not None and time.monotonic() - seen.at < FRESH_SECONDS

    def _has_seen(self, member: Member) -> bool:
        with self._lock:
            return member.name in self._seen

    def _look_at(self, member: Member) -> bool:
        try:
            self.note(member.known_models(), member.name)
        except ServiceError:
            return False
        return True
