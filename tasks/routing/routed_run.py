"""A run of a kind's program by the models of a route: which one first, and when the other.

In this order: what may leave the house, what fits and can be done here, how complex the prompt is;
then the local model first, and the remote one where the local answer breaks its contract. Where
one of them gives nothing, the other stands in for it, if it may. docs/routing.md tells it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from local_llm_service.tasks.answer import Route, Tried
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.tasks.routing.choice import Known, choose
from local_llm_service.tasks.routing.contract import flaw_of
from local_llm_service.tasks.routing.policy import why_local
from local_llm_service.tasks.routing.trial import Trial
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import (
    Cancelled,
    ContextOverflow,
    DeadlineExceeded,
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.fleet.fleet import Fleet, FleetRoute
from local_llm_service.worker.lease.in_flight import Interrupted

Fields = Mapping[str, object]

#: The end of the run itself, whichever model is asked. An engine's death makes the job a suspect,
#: which runs again alone (tasks/engine_death.py).
_ENDS: Final = (Cancelled, DeadlineExceeded, Interrupted, EngineDied)
#: The engine gives no answer now; another one may.
_AWAY: Final = (
    *(OllamaUnreachable, OllamaBusy, ModelMissing, ModelFailed),
    *(EngineTimeout, StreamBroken),
)
#: What is wrong with the prompt or the answer, and would be again.
_CONTENT: Final = (ContextOverflow, InvalidOutput, InvalidRequest)


@dataclass(frozen=True, slots=True)
class Parts:
    """What routed runs need of their worker. `steps_of` makes steps over a model by its name in the
    route. `look` asks the engine of a model whether it is there; if not, its breaker knows it then.
    `without_logprobs`: models that give none though their server takes the request."""

    fleet: Fleet
    known: Known
    steps_of: Callable[[str], EngineSteps]
    look: Callable[[str], object] = lambda _: None
    without_logprobs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Try:
    """A model that is asked. `reason`: why it answers, should it be the one; `flaw`: why its answer
    was not taken, or why it gave none."""

    model: str
    steps: EngineSteps
    reason: str
    flaw: str = ""


class RoutedRun:
    """See ProgramRun."""

    def __init__(self, route: FleetRoute, parts: Parts) -> None:
        self._route, self._parts = route, parts
        self.route_name = route.name
        self.is_repeatable = True
        self._tries: list[_Try] = []
        #: That of the tries whose answer, or error, is the job's.
        self._counts: _Try | None = None

    @property
    def model(self) -> str:
        """See ProgramRun."""
        one = self._counts
        return self._parts.fleet.own_name(self._route.local) if one is None else one.steps.model

    @property
    def spent(self) -> Spent:
        """See ProgramRun."""
        return Spent() if self._counts is None else self._counts.steps.spent

    @property
    def wasted(self) -> Spent:
        """See ProgramRun."""
        wasted = Spent()
        for one in self._tries:
            if one is not self._counts:
                wasted.add(one.steps.spent)
        return wasted

    @property
    def route(self) -> Route:
        """See ProgramRun."""
        tried = [Tried(model=one.steps.model, reason=one.flaw) for one in self._tries if one.flaw]
        reason = "" if self._counts is None else self._counts.reason
        return Route(chosen=self.model, reason=reason, tried=tried)

    @property
    def keeps_contract(self) -> bool:
        """See ProgramRun: False for a bad local answer that is there for want of a better one."""
        return self._counts is None or not self._counts.flaw

    def acquit(self) -> None:
        """See ProgramRun. What a remote model answers says nothing of the engine at home."""
        for one in self._tries:
            (one.steps.home or one.steps).acquit()

    def fields(self, kind: Kind, request: JobRequest) -> Fields:
        """See ProgramRun."""
        route = self._route
        stays = why_local(kind.name, request, self._parts.fleet)
        if stays or route.remote is None:
            return kind.work(request, self._begin(route.local, stays or reasons.NO_REMOTE).steps)
        asked, steps_of = Asked.of(request), self._parts.steps_of
        choice = choose(
            route, asked, self._parts.known, lambda text: steps_of(route.local).likely_tokens(text)
        )
        self.is_repeatable = not choice.is_second_best
        if choice.is_remote:
            return self._remote_first(kind, request, asked, route.remote, choice.reason)
        return self._local_first(kind, request, asked, route.remote, choice.reason)

    def _begin(self, model: str, reason: str) -> _Try:
        steps = self._parts.steps_of(model)
        if model == self._route.remote:
            # A context is made short at home, and only that leaves it. What this takes is wasted
            # with no try, so it has steps of its own.
            steps.home = self._parts.steps_of(self._route.local)
        self._counts = _Try(model, steps, reason)
        self._tries.append(self._counts)
        return self._counts

    def _remote_first(
        self, kind: Kind, request: JobRequest, asked: Asked, remote: str, reason: str
    ) -> Fields:
        """By the remote model; by the local one where that gives no answer."""
        first = self._begin(remote, reason)
        try:
            return kind.work(request, first.steps)
        except _ENDS:
            raise
        except ServiceError as error:
            remote_error = error
        self._give_up(first, remote_error)
        local = self._begin(self._route.local, reasons.after_remote(first.flaw))
        try:
            return kind.work(request, local.steps)
        except (ContextOverflow, InvalidRequest) as error:
            if not self._is_beyond(error, asked):
                raise
            self._counts, local.flaw = first, reasons.reason_of(error)
            raise remote_error from None  # the only model that could have done it

    def _local_first(
        self, kind: Kind, request: JobRequest, asked: Asked, remote: str, reason: str
    ) -> Fields:
        """By the local model; by the remote one where the answer is not to be taken."""
        first = self._begin(self._route.local, reason)
        trial = self._trial(first)
        fields: Fields = {}
        local_error: ServiceError | None = None
        try:
            fields = kind.work(request, trial)
            first.flaw = self._flaw(fields, trial)
        except ServiceError as error:
            first.flaw, local_error = self._why_escalated(error, asked, remote), error
            if not first.flaw:
                raise
        finally:
            if trial.gives_no_logprobs:
                self._parts.without_logprobs.add(first.model)
        if first.flaw:
            self._look(first, local_error)
            first.steps.keep()  # a job that is killed while the remote model works finds it again
            try:
                return self._escalated(kind, request, first, remote)
            except _ENDS:
                raise
            except ServiceError as error:
                self._turn_back(first, error, local_error, asked)
        trial.tell()
        return fields

    def _escalated(self, kind: Kind, request: JobRequest, first: _Try, remote: str) -> Fields:
        second = self._begin(remote, reasons.after_local(first.flaw))
        second.steps.progress(1, 2, "escalating")
        return kind.work(request, second.steps)

    def _turn_back(
        self, first: _Try, error: ServiceError, local_error: ServiceError | None, asked: Asked
    ) -> None:
        """Let the local try count after all, as the remote one failed with `error`: its answer as
        it is, or its error, which is raised."""
        second = self._tries[-1]
        self._give_up(second, error)
        if local_error is not None and self._is_beyond(local_error, asked):
            raise error  # the only model that could have done it
        self._counts = first
        if local_error is not None:
            raise local_error
        first.reason = reasons.after_remote(second.flaw)

    def _give_up(self, one: _Try, error: ServiceError) -> None:
        """Note why a remote model gave no answer."""
        self._look(one, error)
        one.flaw = reasons.reason_of(error)
        self.is_repeatable = self.is_repeatable and isinstance(error, _CONTENT)

    def _look(self, one: _Try, error: ServiceError | None) -> None:
        """See whether an engine is away that did not answer. Its error is not the job's, for which
        tasks/retry.py would look: so the next jobs would all wait for it first."""
        if isinstance(error, OllamaUnreachable | EngineTimeout | StreamBroken):
            self._parts.look(one.model)

    def _trial(self, one: _Try) -> Trial:
        route, known = self._route, self._parts.known
        logprobs = (
            route.cascade
            and route.min_mean_logprob is not None
            and one.model not in self._parts.without_logprobs
            and known.capabilities_of(one.model).logprobs
        )
        return Trial(one.steps, is_held_back=route.cascade, logprobs=logprobs)

    def _flaw(self, fields: Fields, trial: Trial) -> str:
        if not self._route.cascade or trial.prompt is None or trial.completion is None:
            return ""
        return flaw_of(fields, trial.prompt, trial.completion, self._route.min_mean_logprob)

    def _why_escalated(self, error: ServiceError, asked: Asked, remote: str) -> str:
        """Why the remote model is asked after an error of the local one; empty: it is not."""
        if isinstance(error, _ENDS):
            return ""
        is_beyond = self._is_beyond(error, asked) and self._has_room(remote, error)
        is_broken = isinstance(error, InvalidOutput) and self._route.cascade
        if is_beyond or is_broken or isinstance(error, _AWAY):
            return reasons.reason_of(error)
        return ""

    def _is_beyond(self, error: ServiceError, asked: Asked) -> bool:
        """Whether the local model cannot do what is asked for, however often it is asked."""
        if isinstance(error, InvalidRequest):
            return asked.tools or asked.logprobs
        return isinstance(error, ContextOverflow)

    def _has_room(self, remote: str, error: ServiceError) -> bool:
        """Whether the remote model holds what the local one did not, as far as is known."""
        if not isinstance(error, ContextOverflow) or error.sizes is None:
            return True
        try:
            return error.sizes[0] <= self._parts.known.context_tokens(remote)
        except ServiceError:
            return True  # it will say so itself
