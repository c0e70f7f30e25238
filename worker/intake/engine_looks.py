"""Looks at a worker's engines for what it publishes; the catalog and the breakers learn, too."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.engine.side_by_side import side_by_side
from local_llm_service.worker.errors import OllamaBusy, ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.intake.engine_breakers import EngineBreakers
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.intake.served_models import ServedModels
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.store.presence import EnginePresence, server_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """One engine, and its models as it tells them."""

    presence: EnginePresence
    models: list[Model]


class EngineLooks:
    """Looks at all engines at once; each bounds its look to a few seconds."""

    def __init__(
        self, catalog: ModelCatalog, served: ServedModels, breakers: EngineBreakers
    ) -> None:
        self._catalog, self._served, self._breakers = catalog, served, breakers
        #: What was last logged of each engine, and why it does not answer.
        self._said: dict[str, str] = {}
        self._why: dict[str, str] = {}

    def all(self) -> list[Look]:
        """A look at each engine, in the order of the fleet."""
        return side_by_side(self._look, self._catalog.members)

    def _look(self, member: Member) -> Look:
        name = member.name
        if self._is_probed(member):
            return self._as(member, None, [], [self._why.get(name, "it does not answer")])
        try:
            said = member.look()
        except OllamaBusy as error:  # it answers, if only that it is busy
            self._say_once(member, logging.WARNING, f"{error.message}. {error.hint}")
            last = member.last_said
            models = [] if last is None else list(last.models)
            return self._as(member, last.version if last else "unknown", models, [error.message])
        except ServiceError as error:
            self._say_once(member, logging.WARNING, f"{error.message}. {error.hint}")
            self._why[name] = error.message
            self._catalog.note_away(name)
            if member.version is None:
                self._breakers.trip(name)
            return self._as(member, member.version, [], [error.message])
        self._catalog.note(list(said.models), name)
        self._say_once(member, logging.INFO, f"{self._shown(member, said.version)} answers")
        return self._as(member, said.version, list(said.models), list(said.notes))

    def _is_probed(self, member: Member) -> bool:
        """Whether its breaker asks it already: nobody has to wait for another look.

        Of a worker with one engine each look is a probe, too.
        """
        return len(self._catalog.members) > 1 and member.name in self._breakers.away

    def _as(
        self, member: Member, version: str | None, models: list[Model], notes: list[str]
    ) -> Look:
        entry, is_there = member.entry, version is not None
        names = [one.name for one in models] or list(self._catalog.names_of(entry.name))
        if not (names or is_there):  # jobs for what it should have wait for it from the start
            names = [full_name(one.name) for one in entry.models]
        missing = _missing(entry, names) if is_there else []
        presence = EnginePresence(
            name=entry.name,
            kind=entry.kind,
            url=entry.masked_url,
            leaves_the_house=entry.leaves_the_house,
            reachable=is_there,
            version=version,
            slots=entry.slots,
            running=self._served.running(entry.name),
            models=names,
            notes=[*notes, *(f"model {name!r} is not there" for name in missing)],
        )
        return Look(presence, models)

    @staticmethod
    def _shown(member: Member, version: str) -> str:
        if member.entry.kind == "ollama":
            return server_name(version)
        told = "" if version == "unknown" else f" ({version})"
        return f"engine {member.name!r}{told}"

    def _say_once(self, member: Member, level: int, text: str) -> None:
        """Log a state when it changes, not every few seconds."""
        if text != self._said.get(member.name):
            self._said[member.name] = text
            logger.log(level, text)


def _missing(entry: FleetEngine, names: list[str]) -> list[str]:
    """The listed models of an engine that are not among its own."""
    there = {full_name(name) for name in names}
    return [one.name for one in entry.models if full_name(one.name) not in there]
