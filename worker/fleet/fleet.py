"""The fleet of one worker: what ENGINES_FILE says, or one Ollama at OLLAMA_HOST without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.settings import Settings

EngineKind = Literal["ollama", "openai_compatible"]

#: The route that is always there: without one of this name in the file it is the default model.
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class FleetModel:
    """One model of an engine. `name` is the engine's own, `aliases` are callers' names for it.

    `slots` bounds what runs of it at once, within the engine's; None: that alone. What the engine
    cannot tell is said here: `context_tokens`, and a `revision`, changed by hand whenever the model
    behind the name changes; without one, answers of an engine without digests are not cached.
    """

    name: str
    aliases: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    revision: str | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class FleetEngine:
    """One model server. Without `models` it serves all that it has.

    `leaves_the_house`: what is sent to it leaves one's own hardware. `api_key` goes into no log.
    """

    name: str
    kind: EngineKind
    url: str
    api_key: str | None = field(default=None, repr=False)
    slots: int = 1
    leaves_the_house: bool = False
    models: tuple[FleetModel, ...] = ()

    def model(self, name: str) -> FleetModel | None:
        """The model that callers mean by a name or an alias; None if none is listed so."""
        full = full_name(name)
        for one in self.models:
            if full in map(full_name, (one.name, *one.aliases)):
                return one
        return None


@dataclass(frozen=True, slots=True)
class FleetRoute:
    """A choice between a local model and a remote one, by a name that callers give as `model`.

    Without `remote` everything is local. A prompt whose score is `complex_from` or more goes to the
    remote model at once; None: as the router says itself. With `cascade` a local answer that breaks
    its contract is asked of the remote model; with `min_mean_logprob` also one whose mean
    log-probability of a token is lower.
    """

    name: str
    local: str
    remote: str | None = None
    complex_from: float | None = None
    cascade: bool = True
    min_mean_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of it. `local_scopes`: the cache scopes (tenants) whose prompts never leave the house."""

    engines: tuple[FleetEngine, ...]
    routes: tuple[FleetRoute, ...]
    local_scopes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Fleet:
        """The fleet that the settings name."""
        engine = FleetEngine("ollama", "ollama", settings.ollama_host, slots=settings.concurrency)
        return cls((engine,), (FleetRoute(AUTO, settings.model_name),))

    def route(self, model: str) -> FleetRoute | None:
        """The route of this name; None for a model's name."""
        full = full_name(model)
        return next((one for one in self.routes if full_name(one.name) == full), None)

    def engine_of(self, model: str) -> FleetEngine:
        """The engine that serves a model: the first that lists it, else one that lists none."""
        listed = next((one for one in self.engines if one.model(model)), None)
        return listed or next((one for one in self.engines if not one.models), self.engines[0])

    def own_name(self, name: str) -> str:
        """A model's name as its engine spells it, by a name or an alias."""
        found = self.engine_of(name).model(name)
        return name if found is None else found.name

    def leaves_the_house(self, model: str) -> bool:
        """Whether a prompt to this model leaves one's own hardware."""
        return self.engine_of(model).leaves_the_house

    def price(self, model: str) -> Price | None:
        """What a model's tokens cost; None for one that costs nothing but time."""
        found = self.engine_of(model).model(model)
        return None if found is None or found.price is None or found.price.is_free else found.price
