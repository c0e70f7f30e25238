"""Several engines as one: each call goes to the engine that serves its model, within its slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from local_llm_service.worker.engine.members import Member
from local_llm_service.worker.engine.protocol import Capabilities, Engine, Stoppable, TextSink
from local_llm_service.worker.errors import ModelMissing, ServiceError
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed


class Engines:
    """It keeps the promises of `Engine`, which documents the methods, for every model it has.

    A call names a model by its name or an alias, and gets the slot of its engine before it is sent.
    """

    def __init__(self, fleet: Fleet, open_one: Callable[[FleetEngine], Engine]) -> None:
        """`open_one` opens the engine of an entry; it connects at the first call."""
        self._fleet = fleet
        listed = {entry: frozenset(_names(entry)) for entry in fleet.engines}
        self.members: tuple[Member, ...] = tuple(
            Member(entry, open_one(entry), frozenset[str]().union(*listed.values()) - listed[entry])
            for entry in fleet.engines
        )
        self._of_entry = {one.name: one for one in self.members}
        for one in self.members:
            one.engine.on_free(one.slots.wake)

    def member_of(self, model: str) -> Member:
        """The engine that serves a model, whatever of its names is given."""
        return self._of_entry[self._fleet.engine_of(self._fleet.own_name(model)).name]

    def of(self, model: str) -> Engine:
        """The same, as the engine itself."""
        return self.member_of(model).engine

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        """See Engine.complete; a wait for a slot is part of `remaining_seconds`."""
        member, name = self._asked(model)
        with member.slots.taken(name, remaining_seconds, stoppable) as seconds:
            return member.engine.complete(
                prompt,
                model=name,
                remaining_seconds=seconds,
                stoppable=stoppable,
                on_text=on_text,
            )

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """See Engine.embed; a wait for a slot is part of `remaining_seconds`."""
        member, name = self._asked(model)
        with member.slots.taken(name, remaining_seconds, stoppable) as seconds:
            return member.engine.embed(
                texts, model=name, remaining_seconds=seconds, stoppable=stoppable
            )

    def _asked(self, model: str) -> tuple[Member, str]:
        """The engine that a call goes to, and its own name of the model. Raises ModelMissing.

        A message from elsewhere may name any model. An engine with a list has no other: what is not
        on it has no price, and none of the operator's words on where it runs.
        """
        member, name = self.member_of(model), self._fleet.own_name(model)
        if member.entry.models and member.entry.model(name) is None:
            raise ModelMissing(
                "no engine of ENGINES_FILE has this model",
                "Name one that `local-llm models` shows.",
            )
        return member, name

    @property
    def capabilities(self) -> Capabilities:
        """What every engine promises; what a single one does, `of(model)` says."""
        promised = [one.engine.capabilities for one in self.members]
        names = Capabilities.__dataclass_fields__
        return Capabilities(**{name: all(getattr(p, name) for p in promised) for name in names})

    def context_tokens(self, model: str) -> int:
        """See Engine.context_tokens; what the fleet says of a model counts before its engine."""
        member, name = self.member_of(model), self._fleet.own_name(model)
        listed = member.entry.model(name)
        if listed is not None and listed.context_tokens is not None:
            return listed.context_tokens
        return member.engine.context_tokens(name)

    def version(self) -> str:
        """The version of the first engine that answers. Raises the first one's error."""
        return _first_of(self.members, lambda one: one.look().version)

    def models(self) -> list[Model]:
        """The models of all engines that answer. Raises the first one's error where none does."""
        found: list[Model] = []
        errors: list[ServiceError] = []
        for one in self.members:
            try:
                found += one.look().models
            except ServiceError as error:
                errors.append(error)
        if len(errors) == len(self.members):
            raise errors[0]
        return found

    @property
    def occupied(self) -> int:
        """See Engine.occupied."""
        return sum(one.engine.occupied for one in self.members)

    def on_free(self, tell: Callable[[], None]) -> None:
        """See Engine.on_free."""
        for one in self.members:
            one.engine.on_free(_both(one.slots.wake, tell))

    def notes(self) -> list[str]:
        """What an operator should know, each note with the name of its engine."""
        found = []
        for one in self.members:
            with suppress(ServiceError):
                found += [f"engine {one.name}: {note}" for note in one.look().notes]
        return found

    def close(self) -> None:
        """See Engine.close."""
        for one in self.members:
            one.engine.close()


def members_of(engine: Engine, fleet: Fleet) -> tuple[Member, ...]:
    """The engines of a fleet, each by itself: those within `engine`, or that one for each entry."""
    if isinstance(engine, Engines):
        return engine.members
    return tuple(Member(entry, engine) for entry in fleet.engines)


def capabilities_of(engine: Engine, model: str) -> Capabilities:
    """What the engine of a model promises, by any of its names."""
    return (engine.of(model) if isinstance(engine, Engines) else engine).capabilities


def _names(entry: FleetEngine) -> list[str]:
    return [model.names[0] for model in entry.models]


def _first_of(members: Sequence[Member], ask: Callable[[Member], str]) -> str:
    errors: list[ServiceError] = []
    for one in members:
        try:
            return ask(one)
        except ServiceError as error:
            errors.append(error)
    raise errors[0]


def _both(first: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        then()

    return both
