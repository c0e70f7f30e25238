"""Makes a fleet of ENGINES_FILE's entries, which must agree with each other and with the settings.

Every problem is found before any is told, so that an operator corrects the file once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet_file import (
    EngineEntry,
    FileEntries,
    ModelEntry,
    place_of,
    read_entries,
    read_text,
    wrong,
)
from local_llm_service.worker.fleet.parts import (
    FleetEngine,
    FleetModel,
    FleetRoute,
    is_cloud_model,
)
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.fleet.prices import price_of
from local_llm_service.worker.fleet.remote_budget import RemoteBudget
from local_llm_service.worker.settings import Settings, secret_of

#: Slots of an engine that does not say how many, if it is not Ollama: at home, and elsewhere.
SLOTS_AT_HOME, SLOTS_ELSEWHERE = 1, 8


@dataclass(frozen=True, slots=True)
class FileFleet:
    """What a file holds, checked."""

    engines: tuple[FleetEngine, ...]
    routes: tuple[FleetRoute, ...]
    local_scopes: frozenset[str]


def read_fleet(path: str, settings: Settings) -> FileFleet:
    """The fleet of a file. Raises InvalidSetting with every problem that it has."""
    entries = read_entries(path)
    problems = [
        *_names_problems(entries),
        *(
            one
            for at, entry in enumerate(entries.engines)
            for one in _engine_problems(at, entry, settings)
        ),
        *_together_problems(entries, settings),
        *_route_problems(entries),
    ]
    if problems:
        raise wrong(path, problems)
    engines = tuple(_engine(path, at, one, settings) for at, one in enumerate(entries.engines))
    routes = tuple(
        FleetRoute(one.name, one.local, one.remote, one.complex_from, one.cascade,
                   one.min_mean_logprob)
        for one in entries.routes
    )  # fmt: skip
    return FileFleet(engines, routes, frozenset(entries.local_scopes))


def _names_problems(entries: FileEntries) -> Iterator[str]:
    """A name, an alias and a route's name means one thing."""
    engines: set[str] = set()
    taken: set[str] = set()
    for at, engine in enumerate(entries.engines):
        if engine.name in engines:
            yield f"{place_of('engines', at, 'name')}: another engine has this name"
        engines.add(engine.name)
        for number, model in enumerate(engine.models):
            place = place_of("engines", at, "models", number)
            for word, name in (("name", model.name), *(("aliases", one) for one in model.aliases)):
                if full_name(name) in taken:
                    yield f"{place}.{word}: another model of this file has this name"
                taken.add(full_name(name))
    for at, route in enumerate(entries.routes):
        if full_name(route.name) in taken:
            yield f"{place_of('routes', at, 'name')}: a model or another route has this name"
        taken.add(full_name(route.name))


def _engine_problems(at: int, engine: EngineEntry, settings: Settings) -> Iterator[str]:
    place = place_of("engines", at)
    leaves = _leaves(engine)
    if leaves is None:
        yield (
            f"{place}.leaves_the_house: must be true or false, as its host is neither this one nor "
            "in a private network"
        )
    if engine.api_key_env is not None and engine.api_key_file is not None:
        yield f"{place}.api_key_file: give this or api_key_env, not both"
    if engine.api_key_env is not None and not _is_key(secret_of(engine.api_key_env) or ""):
        yield f"{place}.api_key_env: the variable is not set, or holds no key"
    if leaves and not is_at_home(engine.url) and not engine.url.lower().startswith("https:"):
        yield f"{place}.url: must begin with https://, as prompts and key go through the Internet"
    if engine.kind == "ollama" and (engine.api_key_env or engine.api_key_file):
        yield f"{place}.api_key_env: an Ollama takes no key"
    if leaves and not engine.models:
        yield f"{place}.models: an engine that leaves the house lists its models, with their prices"
    listed = {full_name(one.name): one for one in engine.models}
    for name, slots in engine.model_slots.items():
        model = listed.get(full_name(name))
        if listed and model is None:
            yield f"{place}.model_slots: names a model that is not in this engine's models"
        if model is not None and model.slots is not None:
            yield f"{place}.model_slots: names a model that has slots of its own"
        if slots > (engine.slots or slots):
            yield f"{place}.model_slots: a model has more slots than its engine"
    for number, model in enumerate(engine.models):
        for problem in _model_problems(engine, model, settings, leaves=bool(leaves)):
            yield f"{place}.models[{number}].{problem}"


def _model_problems(
    engine: EngineEntry, model: ModelEntry, settings: Settings, *, leaves: bool
) -> Iterator[str]:
    if model.slots is not None and model.slots > (engine.slots or model.slots):
        yield "slots: a model has more slots than its engine"
    if engine.kind == "ollama" and model.context_tokens is not None:
        yield "context_tokens: Ollama says this itself; NUM_CTX bounds it"
    both = (model.prompt_usd, model.completion_usd)
    if model.price is not None and both != (None, None):
        yield "price: give this, or prompt_usd and completion_usd, not both"
    elif model.price is not None and _price(model, settings) is None:
        yield "price: the table of prices has no such model; give prompt_usd and completion_usd"
    elif None in both and both != (None, None):
        yield "prompt_usd and completion_usd: give both"
    elif leaves and model.price is None and None in both:
        yield (
            "price: a model that leaves the house needs one, or prompt_usd and completion_usd; "
            "0 for one that costs nothing"
        )
    elif not leaves and is_cloud_model(model.name):
        yield (
            "name: Ollama runs this model on its maker's hardware; list it at an engine with "
            "leaves_the_house = true"
        )


def _together_problems(entries: FileEntries, settings: Settings) -> Iterator[str]:
    open_ended = [at for at, engine in enumerate(entries.engines) if not engine.models]
    for at in open_ended[1:]:
        yield (
            f"{place_of('engines', at, 'models')}: list its models; only one engine of a file may "
            "serve whatever it has"
        )
    if _has_paid(entries, settings):
        yield from _budget_problems(settings)


def _budget_problems(settings: Settings) -> Iterator[str]:
    if settings.remote_budget_usd is None:
        yield (
            "engines: a model has a price, so set REMOTE_BUDGET_USD, for example to "
            "5/day,100/month, or to unlimited"
        )
        return
    try:
        RemoteBudget.of(settings)
    except InvalidSetting as error:
        yield f"engines: a model has a price, and {error.message}"


def _has_paid(entries: FileEntries, settings: Settings) -> bool:
    prices = [_price(model, settings) for engine in entries.engines for model in engine.models]
    return any(price is not None and not price.is_free for price in prices)


def _route_problems(entries: FileEntries) -> Iterator[str]:
    of_model = {
        full_name(name): engine
        for engine in entries.engines
        for model in engine.models
        for name in (model.name, *model.aliases)
    }
    routes = {full_name(one.name) for one in entries.routes}
    has_others = any(not engine.models for engine in entries.engines)
    for at, route in enumerate(entries.routes):
        places = {"local": route.local, "remote": route.remote}
        for word, name in places.items():
            if name is None:
                continue
            place, engine = place_of("routes", at, word), of_model.get(full_name(name))
            if full_name(name) in routes:
                yield f"{place}: names a route, and must name a model"
            elif engine is None and not (has_others and word == "local"):
                yield f"{place}: no engine of this file lists this model"
            elif (_is_remote(engine, name)) != (word == "remote"):
                does = "leaves" if word == "local" else "does not leave"
                yield f"{place}: this model {does} the house"


def _is_remote(engine: EngineEntry | None, name: str) -> bool:
    return is_cloud_model(name) if engine is None else bool(_leaves(engine))


def _leaves(engine: EngineEntry) -> bool | None:
    """Whether it leaves the house; None where the file has to say so and does not."""
    if engine.leaves_the_house is not None:
        return engine.leaves_the_house
    return False if is_at_home(engine.url) else None


def is_at_home(url: str) -> bool:
    """Whether a host is this one, or one of a private network, as far as its name tells."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if re.fullmatch(r"\d+|0x[0-9a-f]+", host):
            return False  # an address in one number
        home = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
        return "." not in host or host.endswith(home)
    return address.is_loopback or address.is_private or address.is_link_local


def _price(model: ModelEntry, settings: Settings) -> Price | None:
    if model.price is not None:
        return price_of(model.price, settings.prices_file)
    if model.prompt_usd is None or model.completion_usd is None:
        return None
    return Price(model.prompt_usd, model.completion_usd)


def _engine(path: str, at: int, entry: EngineEntry, settings: Settings) -> FleetEngine:
    leaves = bool(_leaves(entry))
    default = SLOTS_ELSEWHERE if leaves else SLOTS_AT_HOME
    if entry.kind == "ollama" and not leaves:
        default = settings.ollama_num_parallel
    most = [*entry.model_slots.values(), *(one.slots or 1 for one in entry.models)]
    return FleetEngine(
        entry.name,
        entry.kind,
        entry.url,
        api_key=_key(path, at, entry),
        slots=entry.slots or max(default, *most, 1),
        leaves_the_house=leaves,
        models=tuple(_model(one, settings) for one in entry.models),
        model_slots=tuple((full_name(name), n) for name, n in entry.model_slots.items()),
    )


def _model(entry: ModelEntry, settings: Settings) -> FleetModel:
    return FleetModel(
        entry.name,
        tuple(entry.aliases),
        entry.slots,
        entry.context_tokens,
        entry.revision,
        _price(entry, settings),
    )


def _key(path: str, at: int, entry: EngineEntry) -> str | None:
    if entry.api_key_env is not None:
        return secret_of(entry.api_key_env)
    if entry.api_key_file is None:
        return None
    place = place_of("engines", at, "api_key_file")
    key = read_text(entry.api_key_file, place, named_in=path).strip()
    if not _is_key(key):
        raise wrong(path, [f"{place}: must hold one key and nothing else"])
    return key


def _is_key(text: str) -> bool:
    """Whether a header can hold it."""
    return bool(re.fullmatch(r"[!-~]+", text))
