"""Looks at a worker's engines for what it publishes; the catalog and the breakers learn, too."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
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
    """Looks at every engine, one after the other; each bounds its look to a few seconds."""

    def __init__(
        self, catalog: ModelCatalog, served: ServedModels, breakers: EngineBreakers
    ) -> None:
        self._catalog, self._served, self._breakers = catalog, served, breakers
        #: What was last logged of each engine.
        self._said: dict[str, str] = {}

    def all(self) -> list[Look]:
        """A look at each engine, in the order of the fleet."""
        return [self._look(one) for one in self._catalog.members]

    def _look(self, member: Member) -> Look:
        version: str | None = None
        models: list[Model] = []
        notes: list[str] = []
        if self._is_probed(member):
            return self._as(member, version, models, [])
        try:
            if member.entry.leaves_the_house:
                said = member.look()
                version, models, notes = said.version, list(said.models), list(said.notes)
            else:
                version = member.engine.version()
                models, notes = member.models(), member.engine.notes()
            self._catalog.note(models, member.name)
            self._say_once(member, logging.INFO, f"{self._shown(member, version)} answers")
        except ServiceError as error:
            self._say_once(member, logging.WARNING, f"{error.message}. {error.hint}")
            self._catalog.note_away(member.name)
            if version is None:
                self._breakers.trip(member.name)
        return self._as(member, version, models, notes)

    def _is_probed(self, member: Member) -> bool:
        """Whether its breaker asks it already: a look that waits for it would hold up the others.

        A worker with one engine has nobody to hold up.
        """
        return len(self._catalog.members) > 1 and member.name in self._breakers.away

    def _as(
        self, member: Member, version: str | None, models: list[Model], notes: list[str]
    ) -> Look:
        entry = member.entry
        presence = EnginePresence(
            name=entry.name,
            kind=entry.kind,
            url=entry.masked_url,
            leaves_the_house=entry.leaves_the_house,
            reachable=version is not None,
            version=version,
            slots=entry.slots,
            running=self._served.running(entry.name),
            models=[one.name for one in models] or list(self._catalog.names_of(entry.name)),
            notes=[*notes, *self._missing(member, models, is_there=version is not None)],
        )
        return Look(presence, models)

    @staticmethod
    def _missing(member: Member, models: list[Model], *, is_there: bool) -> list[str]:
        there = {full_name(one.name) for one in models}
        missing = [one.name for one in member.entry.models if full_name(one.name) not in there]
        return [f"model {name!r} is not there" for name in missing if is_there]

    @staticmethod
    def _shown(member: Member, version: str) -> str:
        if member.entry.kind == "ollama":
            return server_name(version)
        return f"engine {member.name!r} ({version})"

    def _say_once(self, member: Member, level: int, text: str) -> None:
        """Log a state when it changes, not every few seconds."""
        if text != self._said.get(member.name):
            self._said[member.name] = text
            logger.log(level, text)
