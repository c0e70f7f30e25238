"""What a fleet is made of: engines, their models, and routes; small frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.price import Price

EngineKind = Literal["ollama", "openai_compatible"]


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

    @property
    def names(self) -> tuple[str, ...]:
        """Its full name, then those of its aliases."""
        return tuple(map(full_name, (self.name, *self.aliases)))


@dataclass(frozen=True, slots=True)
class FleetEngine:
    """One model server. Without `models` it serves all that it has.

    `leaves_the_house`: what is sent to it leaves one's own hardware. `api_key` goes into no log.
    `slots` is what it runs at once; `model_slots` bounds single models further, by full name.
    """

    name: str
    kind: EngineKind
    url: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    slots: int = 1
    leaves_the_house: bool = False
    models: tuple[FleetModel, ...] = ()
    model_slots: tuple[tuple[str, int], ...] = ()

    def model(self, name: str) -> FleetModel | None:
        """The model that callers mean by a name or an alias; None if none is listed so."""
        full = full_name(name)
        return next((one for one in self.models if full in one.names), None)

    def slots_of(self, model: str) -> int:
        """How much of a model, by its own name, runs at once; at most all of `slots`."""
        found = self.model(model)
        own = found.slots if found is not None else None
        return min(self.slots, own or dict(self.model_slots).get(full_name(model), self.slots))

    @property
    def masked_url(self) -> str:
        """Its URL with any password masked."""
        return re.sub(r"//[^/]*@", "//***@", self.url)

    def masked(self) -> dict[str, object]:
        """What a log says of it: its key and any password replaced by `***`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "url": self.masked_url,
            "api_key": self.api_key and "***",
            "slots": self.slots,
            "leaves_the_house": self.leaves_the_house,
            "models": ",".join(one.name for one in self.models) or "all",
        }


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


def is_cloud_model(name: str) -> bool:
    """Whether Ollama runs a model of this name on its maker's hardware: its tag says so."""
    tag = full_name(name).rpartition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud")
