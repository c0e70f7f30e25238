"""The fleet of one worker: what ENGINES_FILE says, or one Ollama at OLLAMA_HOST without it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.parts import (
    EngineKind,
    FleetEngine,
    FleetModel,
    FleetRoute,
    is_cloud_model,
)
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.settings import Settings

__all__ = ["AUTO", "EngineKind", "Fleet", "FleetEngine", "FleetModel", "FleetRoute"]

#: The route that is always there: without one of this name in the file it is the default model.
AUTO = "auto"
#: CONCURRENCY's own bound.
MOST_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of it. `local_scopes`: the cache scopes (tenants) whose prompts never leave the house."""

    engines: tuple[FleetEngine, ...]
    routes: tuple[FleetRoute, ...]
    local_scopes: frozenset[str] = frozenset()
    #: By full name: the routes, and the listed models with their engines. Every job asks.
    _routes: dict[str, FleetRoute] = field(init=False, repr=False, compare=False)
    _listed: dict[str, tuple[FleetEngine, FleetModel]] = field(
        init=False, repr=False, compare=False
    )
    #: The engine of what nobody lists.
    _other: FleetEngine = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        routes = {full_name(one.name): one for one in reversed(self.routes)}
        listed = {
            name: (engine, model)
            for engine in reversed(self.engines)
            for model in reversed(engine.models)
            for name in model.names
        }
        other = next((one for one in self.engines if not one.models), self.engines[0])
        for name, value in (("_routes", routes), ("_listed", listed), ("_other", other)):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, settings: Settings) -> Fleet:
        """The fleet that the settings name; its file is read once in a process.

        Raises InvalidSetting, which names each place of the file that is wrong, without its value.
        """
        return _fleet_of(settings)

    def route(self, model: str) -> FleetRoute | None:
        """The route of this name; None for a model's name."""
        return self._routes.get(full_name(model))

    def engine_of(self, model: str) -> FleetEngine:
        """The engine that serves a model: the first that lists it, else the one that lists none."""
        listed = self._listed.get(full_name(model))
        return self._other if listed is None else listed[0]

    def own_name(self, model: str) -> str:
        """The engine's own name of a model that is named so, or by an alias, or by a route."""
        route = self.route(model)
        name = model if route is None else route.local
        listed = self._listed.get(full_name(name))
        return name if listed is None else listed[1].name

    def model_of(self, name: str) -> str:
        """The full name of the model that a name, an alias or a route means.

        A route means its local model.
        """
        return full_name(self.own_name(name))

    def leaves_the_house(self, model: str) -> bool:
        """Whether a prompt to this model leaves one's own hardware.

        An Ollama hands prompts to its cloud models on to its maker.
        """
        name = self.own_name(model)
        return self.engine_of(name).leaves_the_house or is_cloud_model(name)

    def price(self, model: str) -> Price | None:
        """What a model's tokens cost; None for one that costs nothing but time."""
        listed = self._listed.get(full_name(model))
        price = None if listed is None else listed[1].price
        return None if price is None or price.is_free else price

    @property
    def has_paid_models(self) -> bool:
        """Whether any model has a price."""
        listed = [model for engine in self.engines for model in engine.models]
        return any(one.price is not None and not one.price.is_free for one in listed)

    @property
    def aliases(self) -> dict[str, str]:
        """Callers' other names of models, each with the engine's own."""
        listed = [model for engine in self.engines for model in engine.models]
        return {alias: model.name for model in listed for alias in model.aliases}

    @property
    def slots(self) -> int:
        """What all engines run at once."""
        return min(MOST_SLOTS, sum(engine.slots for engine in self.engines))


def concurrency_of(settings: Settings) -> int:
    """The slots of a worker: CONCURRENCY, else those of all engines together.

    Raises InvalidSetting.
    """
    if settings.engines_file is None or "concurrency" in settings.model_fields_set:
        return settings.concurrency
    return Fleet.of(settings).slots


@lru_cache(maxsize=8)
def _fleet_of(settings: Settings) -> Fleet:
    if settings.engines_file is None:
        engine = FleetEngine("ollama", "ollama", settings.ollama_host, slots=settings.concurrency)
        return Fleet((engine,), (FleetRoute(AUTO, settings.model_name),))
    from local_llm_service.worker.fleet.file_rules import read_fleet

    found = read_fleet(settings.engines_file, settings)
    fleet = Fleet(found.engines, found.routes, found.local_scopes)
    if fleet.route(AUTO) is None and not fleet.leaves_the_house(settings.model_name):
        # MODEL_NAME may name a route itself: that is what the default model means then.
        route = fleet.route(settings.model_name) or FleetRoute(AUTO, settings.model_name)
        auto = replace(route, name=AUTO)
        fleet = replace(fleet, routes=(*fleet.routes, auto))
    return fleet
