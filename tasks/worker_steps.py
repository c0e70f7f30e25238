"""The steps of a job in a worker, for `run.py`.

How the engine did is noted for the models that this worker serves, and the text goes to its
readers while it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial

from local_llm_service.tasks import engine_death
from local_llm_service.tasks.admission import text_name
from local_llm_service.tasks.kept_steps import KeptSteps
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.paid_steps import PaidSteps, texts_name
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.routing.policy import check_may_get
from local_llm_service.tasks.spoken_texts import SpokenTexts
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.tasks.text_vectors import all_vectors
from local_llm_service.worker.engine import TextSink
from local_llm_service.worker.errors import DeadlineExceeded, ModelMissing, ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.lease.in_flight import InFlightDelivery, Writing
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.savings import row_of, tenant_of
from local_llm_service.worker.tokens.fixed_rates import FixedRates


class WorkerSteps(EngineSteps):
    """What one delivery asks of its worker's engine; `leads` as in `run.py`."""

    def __init__(
        self,
        kind: Kind,
        request: JobRequest,
        runtime: WorkerRuntime,
        in_flight: InFlightDelivery,
        *,
        model: str,
        leads: str,
        revision: str | None,
        texts: SpokenTexts | None = None,
    ) -> None:
        """Without a `revision` of the model nothing is looked up or kept for others. `texts` are
        those of the delivery, where it has other steps beside these.

        Raises InvalidRequest for a model that must not get the job's prompts.
        """
        check_may_get(model, kind.name, request, runtime.fleet)
        model = runtime.fleet.own_name(model)
        super().__init__(runtime.engine, model, runtime.settings, runtime.tokens)
        self._kind, self._request, self._runtime, self._leads = kind, request, runtime, leads
        self._in_flight, self._delivery = in_flight, in_flight.delivery
        self._revision = revision
        self._kept = KeptSteps(
            request, runtime, in_flight, model=self.model, revision=revision, leads=leads
        )
        self._texts = texts or SpokenTexts(request, runtime, in_flight, leads)
        self._paid = self._paid_steps()
        #: The engine has answered what it was asked last, and all was asked as the kind says it.
        self._is_answered, self._is_as_said = False, True
        in_flight.kind, in_flight.model = kind.name, full_name(self.model)

    def _paid_steps(self) -> PaidSteps | None:
        """What books the calls of a model that has a price; None for any other."""
        request, runtime = self._request, self._runtime
        price = runtime.fleet.price(self.model)
        if price is None:
            return None
        asked_for = request.model or runtime.settings.model_name
        route = runtime.fleet.route(asked_for)
        row = row_of(
            runtime.fleet.model_of(self.model),
            tenant_of(request.cache_scope),
            "" if route is None else route.name,
        )
        place, most_tokens = self._kept.place, self.most_tokens
        return PaidSteps(
            runtime, self._in_flight, price, place=place, row=row, most_tokens=most_tokens
        )

    @property
    def nano_usd(self) -> int:
        """What the completions of these steps have cost, nanodollars."""
        return 0 if self._paid is None else self._paid.nano_usd

    @property
    def wasted_nano_usd(self) -> int:
        """What calls have cost that brought no completion, nanodollars."""
        return 0 if self._paid is None else self._paid.wasted_nano_usd

    @cached_property
    def known_as(self) -> str:
        """See EngineSteps: the model's digest, where it is known."""
        name = full_name(self.model)
        revision = self._revision or self._runtime.catalog.revision(name)
        return name if revision is None else revision.partition("/")[0]

    @cached_property
    def _rates(self) -> FixedRates:
        """See EngineSteps: those of an earlier run, where there was one."""
        return self._kept.fixed_rates() or self._kept.fix(super()._rates)

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        self._is_answered = False
        # Elsewhere no engine of ours dies, and a prompt that changed would be bought again.
        leaves = self._runtime.fleet.leaves_the_house(self.model)
        sent = prompt if leaves else engine_death.safer(prompt, self._delivery)
        self._is_as_said = self._is_as_said and sent is prompt
        remaining_seconds = self._wanted_for()
        known = self._kept.begin(sent, shared=shared)
        if known is None and self._paid is not None:
            known = self._paid.begin(sent, self._kept.paid_name())
        with self._texts.written(sent) as readers:
            if known is not None:
                _counted(self._in_flight.writing, readers)(known.text)
                return known
            completion = self._paid_for(
                lambda: self.engine.complete(
                    sent,
                    model=self.model,
                    remaining_seconds=remaining_seconds,
                    stoppable=self._in_flight,
                    on_text=_counted(self._in_flight.writing, readers),
                )
            )
        self._kept.done(completion)
        self._is_answered = True
        return completion

    @property
    def at_home(self) -> EngineSteps:
        """See Steps. Raises ModelMissing where all that there is leaves the house."""
        found = super().at_home
        if self._runtime.fleet.leaves_the_house(found.model):
            raise ModelMissing(
                "context: no model at home can make it short",
                "Give the worker a local model and a route `auto` in ENGINES_FILE.",
            )
        return found

    def tell(self, prompt: Prompt, text: str) -> None:
        """See EngineSteps."""
        self._texts.tell(prompt, text)

    def keep(self) -> None:
        """See Steps."""
        self._kept.keep()

    def prompt_nano_usd(self, tokens: int) -> int:
        """See Steps."""
        price = self._runtime.fleet.price(self.model)
        return 0 if price is None else price.nano_usd(tokens, 0)

    def progress(self, done: int, total: int, phase: str) -> None:
        """See Steps."""
        self._in_flight.progress = Progress(done, total, phase)
        self._kept.tell(self._in_flight.progress)

    def acquit(self) -> None:
        """Clear the job of its engine's deaths, if that has answered all of it by now."""
        if self._is_answered and self._is_as_said:
            self._runtime.engine_deaths.acquit(self._delivery.task_id)

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps; the engine makes those that are not known."""

        def ask(missing: ToEmbed) -> Completion:
            remaining_seconds = self._wanted_for()
            if self._paid is not None:
                self._paid.begin(missing, texts_name(missing))
            completion = self._paid_for(
                lambda: self.engine.embed(
                    missing,
                    model=self.model,
                    remaining_seconds=remaining_seconds,
                    stoppable=self._in_flight,
                )
            )
            self._is_answered = True
            return completion

        name_of = None
        if self._revision is not None:
            model = full_name(self.model)
            name_of = partial(text_name, self._kind, self._request, model, self._revision)
        return all_vectors(texts, ask, self._runtime.store.vectors, name_of)

    def _wanted_for(self) -> float:
        """Seconds for which somebody wants the answer. Raises DeadlineExceeded, or the stop."""
        if self._in_flight.reason is not None:
            raise self._in_flight.reason
        seconds = self._in_flight.wanted_for()
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the job was running")
        return seconds

    def _paid_for(self, ask: Callable[[], Completion]) -> Completion:
        """Ask the engine, and tell what it booked how that ended, before anything else."""
        if self._paid is None:
            return self._noted(ask)
        pieces = self._in_flight.writing.pieces
        try:
            completion = self._noted(ask)
        except BaseException as error:  # whatever ends the call: it may have cost
            has_text = self._in_flight.writing.pieces > pieces or getattr(error, "tokens", 0) > 0
            self._paid.failed(error, has_text=has_text)
            raise
        self._paid.done(completion)
        return completion

    def _noted(self, ask: Callable[[], Completion]) -> Completion:
        """Ask the engine, and note how it did.

        No prompt reaches an engine but through here. So the policy is asked again, whoever made
        these steps: what must not leave the house, does not.
        """
        check_may_get(self.model, self._kind.name, self._request, self._runtime.fleet)
        self._in_flight.model = full_name(self.model)
        model, served, began_at = self.model, self._runtime.served, time.monotonic()
        writing, tokens = self._in_flight.writing, self._in_flight.run_tokens
        pieces, named = writing.pieces, self._runtime.fleet.model_of(model)
        try:
            completion = ask()
        except ServiceError as error:
            if written := getattr(error, "tokens", 0) or writing.pieces - pieces:
                tokens.add(named, 0, written)  # nobody says how long the prompt was
            served.ended(model, error, began_at)
            raise
        tokens.add(named, completion.prompt_tokens, completion.completion_tokens)
        served.ended(model, None, began_at)
        return completion


def _counted(writing: Writing, readers: TextSink | None) -> TextSink:
    """A sink that counts each piece, and hands it to the readers where there are any."""
    if readers is None:
        return lambda _: writing.note_piece()

    def take(piece: str) -> None:
        writing.note_piece()
        readers(piece)

    return take
