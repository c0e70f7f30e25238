"""Which models this worker takes jobs for now, and what it tells others about that.

A job for another model stays for a worker that serves it (take.lua parks it).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from local_llm_service.worker.errors import ModelMissing, ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import FleetRoute
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_breakers import ModelBreakers
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.keys import DEFAULT_MODEL


class WhatIsAway(Protocol):
    """What the breakers of the engines tell; see EngineBreakers."""

    @property
    def away(self) -> Collection[str]:
        """The names of the engines that are away."""


class ServedModels:
    """The models of this worker's engines, without those that they fail.

    Names are full. Aliases and routes are among them, and keys.DEFAULT_MODEL stands for the
    worker's own default beside its name: jobs that name no model ask for it.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: ModelCatalog,
        gate: Gate,
        breakers: WhatIsAway,
        held: Callable[[], Sequence[str]],
    ) -> None:
        """`held` returns what each job in flight runs with, or asks for: any name of a model."""
        self._default = full_name(settings.model_name)
        self._catalog, self._gate, self._away, self._held = catalog, gate, breakers, held
        self._fleet = catalog.fleet
        #: Without a file there is one engine, and its slots are the worker's.
        self._bounds_slots = settings.engines_file is not None
        self._aliases = {full_name(a): full_name(m) for a, m in self._fleet.aliases.items()}
        changed = catalog.changed.set
        #: Of the models of each engine, by its name.
        self.breakers = {one.name: ModelBreakers(changed) for one in catalog.members}

    def now(self) -> list[str] | None:
        """What to take jobs for now; None while nobody knows, before the first look."""
        names = self._catalog.names()
        if names is None:
            return None
        is_quiet = all(breakers.are_quiet for breakers in self.breakers.values())
        busy = [] if is_quiet and not self._bounds_slots else self._busy()
        allowed: list[str] = []
        for member in self._catalog.members:
            if len(self._catalog.members) > 1 and member.name in self._away.away:
                continue
            own = self._catalog.names_of(member.name)
            breakers = self.breakers[member.name]
            found = own if breakers.are_quiet else breakers.allowed(own, self._of(own, busy))
            allowed += self._with_room(member.name, found, busy)
        return self._with_others(allowed)

    def rings(self) -> list[str]:
        """The models whose rings this worker hears: what it takes jobs for, now or as soon as an
        engine has a free slot or is back."""
        if not self._bounds_slots:
            return self.now() or []
        return self._with_others(list(self._catalog.names() or ()))

    def is_up(self, model: str) -> bool:
        """Whether the engine of a model, by any of its names, is there and has it."""
        name = self._fleet.model_of(model)
        engine = self._fleet.engine_of(name).name
        return engine not in self._away.away and name in self._catalog.names_of(engine)

    def may_be_asked(self, model: str, others: Callable[[], Iterable[str]]) -> bool:
        """Whether one job may ask a model, by any of its names, now: its engine is there, and does
        not fail it, or is due to be tried. `others` tells what the other jobs in flight run with,
        or ask for: one of them tries at a time."""
        engine = self._fleet.engine_of(self._fleet.own_name(model)).name
        breakers, own = self.breakers[engine], self._catalog.names_of(engine)
        if not self.is_up(model) or breakers.are_quiet:
            return self.is_up(model)
        busy = self._of(own, map(self.meant_by, others()))
        return bool(breakers.allowed([self._fleet.model_of(model)], busy))

    def is_full(self, model: str, *, and_one_more: bool = False) -> bool:
        """Whether no job for a model, by its full name, may be taken as all its slots are held, or
        would be by one more job of it."""
        busy = self._busy() + [model] * and_one_more
        return not self._with_room(self._fleet.engine_of(model).name, [model], busy)

    def meant_by(self, name: str) -> str:
        """The full name of the model that a job means by what it asks for."""
        default = name in ("", DEFAULT_MODEL)
        return self._fleet.model_of(self._default if default else name)

    def running(self, engine: str) -> int:
        """The jobs in flight that run in an engine, or ask for one of its models."""
        return sum(1 for name in self._busy() if self._fleet.engine_of(name).name == engine)

    def ended(self, model: str, error: ServiceError | None, began_at: float) -> None:
        """Note how a run ended; see ModelBreakers.ended. Looks again where a model was missing."""
        name = self._fleet.model_of(model)
        engine = self._fleet.engine_of(name).name
        if isinstance(error, ModelMissing):
            self._catalog.look(engine)
            if name not in (self._catalog.names() or ()):
                return  # no jobs are taken for it any more
        self.breakers[engine].ended(name, error, began_at)

    def failing(self) -> list[str]:
        """The models that their engines fail."""
        found: list[str] = []
        for member in self._catalog.members:
            names = self._catalog.names_of(member.name)
            breakers = self.breakers[member.name]
            breakers.keep_only(names)
            found += breakers.failing(names)
        return found

    def _fails(self, route: FleetRoute, failing: Collection[str]) -> bool:
        """Whether all models of a route are among these."""
        models = filter(None, (route.local, route.remote))
        return all(self._fleet.model_of(one) in failing for one in models)

    def table(self) -> str:
        """For publish.lua: the catalog's table, with the models that this worker serves and fails.

        A worker that drains serves none. One whose engine does not answer serves what it had: its
        jobs wait for the engine, as they do where it is the only worker.
        """
        drains = Reason.DRAINING in self._gate.reasons
        served = [] if drains else self._with_others(list(self._catalog.names() or ()))
        failing = self.failing()
        routes = [full_name(one.name) for one in self._fleet.routes if self._fails(one, failing)]
        names = self._with_default([*failing, *self._also(failing), *routes])
        return json.dumps({**self._catalog.table(), "serves": served, "failing": names})

    def _busy(self) -> list[str]:
        """The model of each job in flight, by its full name."""
        return [self.meant_by(name) for name in self._held()]

    @staticmethod
    def _of(names: Collection[str], busy: Iterable[str]) -> list[str]:
        return [name for name in busy if name in names]

    def _with_room(self, engine: str, names: Collection[str], busy: Sequence[str]) -> list[str]:
        """Of an engine's models, those that have a free slot."""
        if not self._bounds_slots:
            return list(names)
        member = next(one for one in self._catalog.members if one.name == engine)
        held = Counter(name for name in busy if self._fleet.engine_of(name).name == engine)
        if held.total() + member.engine.occupied >= member.entry.slots:
            return []
        return [name for name in names if held[name] < member.entry.slots_of(name)]

    def _with_others(self, names: list[str]) -> list[str]:
        """These models with their other names, and the routes and the default that they serve."""
        return self._with_default([*names, *self._also(names), *self._routes(names)])

    def _also(self, names: Collection[str]) -> Iterator[str]:
        """The aliases of these models."""
        return (alias for alias, model in self._aliases.items() if model in names)

    def _with_default(self, names: list[str]) -> list[str]:
        return [*names, DEFAULT_MODEL] if self._default in names else names

    def _routes(self, served: Collection[str]) -> Iterator[str]:
        """The routes that jobs may be taken for: by their local model, else by the remote one.

        The remote one counts only while the local one is away or fails, and not while it is busy.
        """
        for route in self._fleet.routes:
            local = self._fleet.model_of(route.local)
            if local in served:
                yield full_name(route.name)
            elif route.remote is not None and self._fleet.model_of(route.remote) in served:
                engine = self._fleet.engine_of(local).name
                if not self.is_up(local) or self.breakers[engine].failing([local]):
                    yield full_name(route.name)
