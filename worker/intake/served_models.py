"""Which models this worker takes jobs for now, and what it tells others about that.

A job for another model stays for a worker that serves it (take.lua parks it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from local_llm_service.worker.errors import ModelMissing, ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.intake.gate import Gate, Reason
from local_llm_service.worker.intake.model_breakers import ModelBreakers
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.keys import DEFAULT_MODEL


class ServedModels:
    """The models of this worker's Ollama, without those that it fails.

    Names are full, and keys.DEFAULT_MODEL stands for the worker's own default beside its name: jobs
    that name no model ask for it.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: ModelCatalog,
        gate: Gate,
        held: Callable[[], Sequence[str]],
    ) -> None:
        """`held` returns what each job in flight asks for: a model, or keys.DEFAULT_MODEL."""
        self._default = full_name(settings.model_name)
        self._catalog, self._gate, self._held = catalog, gate, held
        self.breakers = ModelBreakers(catalog.changed.set)

    def now(self) -> list[str] | None:
        """What to take jobs for now; None while nobody knows, before the first look at Ollama."""
        names = self._catalog.names()
        if names is None:
            return None
        if self.breakers.are_quiet:
            return self._with_default(list(names))
        busy = [self._default if name == DEFAULT_MODEL else name for name in self._held()]
        return self._with_default(self.breakers.allowed(names, busy))

    def ended(self, model: str, error: ServiceError | None, began_at: float) -> None:
        """Note how a run ended; see ModelBreakers.ended. Looks again where a model was missing."""
        if isinstance(error, ModelMissing):
            self._catalog.look()
            if full_name(model) not in (self._catalog.names() or ()):
                return  # no jobs are taken for it any more
        self.breakers.ended(full_name(model), error, began_at)

    def failing(self) -> list[str]:
        """The models that the engine fails; DEFAULT_MODEL with the default."""
        names = self._catalog.names() or ()
        self.breakers.keep_only(names)
        return self._with_default(self.breakers.failing(names))

    def table(self) -> str:
        """For publish.lua: the catalog's table, with the models that this worker serves and fails.

        A worker that drains serves none. One whose Ollama does not answer serves what it had: its
        jobs wait for Ollama, as they do where it is the only worker.
        """
        drains = Reason.DRAINING in self._gate.reasons
        served = [] if drains else self._with_default(list(self._catalog.names() or ()))
        return json.dumps({**self._catalog.table(), "serves": served, "failing": self.failing()})

    def _with_default(self, names: list[str]) -> list[str]:
        return [*names, DEFAULT_MODEL] if self._default in names else names
