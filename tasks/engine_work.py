"""The work of one job: its engine is asked for a text or for vectors. For `run.py`.

How the engine did is noted for the models that this worker serves, and the text goes to its
readers while it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

from local_llm_service.tasks import engine_death
from local_llm_service.tasks.admission import text_name
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.text_vectors import all_vectors
from local_llm_service.worker.engine import Engine, TextSink, open_engine
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.lease.in_flight import InFlightDelivery, Writing
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import Settings, get_settings


class EngineWork:
    """What one delivery asks of its worker's engine; `leads` as in `run.py`."""

    def __init__(
        self, kind: Kind, runtime: WorkerRuntime, in_flight: InFlightDelivery, *, leads: str
    ) -> None:
        self._kind, self._runtime, self._leads = kind, runtime, leads
        self._in_flight, self._delivery = in_flight, in_flight.delivery

    def complete(self, request: JobRequest, model: str, revision: str | None) -> Completion:
        """Let the engine work; without a `revision` no vector is looked up or kept.

        Raises a ServiceError: what the engine raises, or that the request fits no prompt.
        """
        self._in_flight.kind, self._in_flight.model = self._kind.name, full_name(model)
        asked = self._kind.prompt(request, self._runtime.settings.max_output_tokens)
        if isinstance(asked, ToEmbed):
            return self._embed(asked, request, model, revision)
        prompt = engine_death.safer(asked, self._delivery)
        with self._written(request, prompt) as readers:
            completion = self._noted(
                model,
                lambda: self._runtime.engine.complete(
                    prompt,
                    model=model,
                    remaining_seconds=self._delivery.remaining_seconds,
                    stoppable=self._in_flight,
                    on_text=_counted(self._in_flight.writing, readers),
                ),
            )
        if prompt is asked:
            self._runtime.engine_deaths.acquit(self._delivery.task_id)
        return completion

    def _embed(
        self, texts: ToEmbed, request: JobRequest, model: str, revision: str | None
    ) -> Completion:
        """The vectors of texts; the engine makes those that are not known."""

        def ask(missing: ToEmbed) -> Completion:
            remaining = self._delivery.remaining_seconds
            engine, stoppable = self._runtime.engine, self._in_flight
            completion = self._noted(
                model,
                lambda: engine.embed(
                    missing, model=model, remaining_seconds=remaining, stoppable=stoppable
                ),
            )
            self._runtime.engine_deaths.acquit(self._delivery.task_id)
            return completion

        name_of = None
        if revision is not None:
            name_of = partial(text_name, self._kind, request, full_name(model), revision)
        return all_vectors(texts, ask, self._runtime.store.vectors, name_of)

    def _noted(self, model: str, ask: Callable[[], Completion]) -> Completion:
        """Ask the engine, and note how it did."""
        served, began_at = self._runtime.served, time.monotonic()
        try:
            completion = ask()
        except ServiceError as error:
            served.ended(model, error, began_at)
            raise
        served.ended(model, None, began_at)
        return completion

    @contextmanager
    def _written(self, request: JobRequest, prompt: Prompt) -> Iterator[TextSink | None]:
        """Where the engine's text goes: to readers, when one of those who wait wants it.

        It is all there before the job's result is. Nobody else can want the text of a job that
        shares nothing.
        """
        if not prompt.spoken or not (request.stream or self._leads):
            yield None
            return
        delivery = self._delivery
        text = self._runtime.text_writer.open(delivery.task_id, delivery.token, self._leads)
        self._in_flight.on_text_wanted(text.want)
        if request.stream:
            text.want()
        try:
            yield text.add
        except BaseException:  # whatever ends the work: no reader takes the rest for all
            text.end(is_complete=False)
            raise
        text.end(is_complete=True)


def _counted(writing: Writing, readers: TextSink | None) -> TextSink:
    """A sink that counts each piece, and hands it to the readers where there are any."""
    if readers is None:
        return lambda _: writing.note_piece()

    def take(piece: str) -> None:
        writing.note_piece()
        readers(piece)

    return take


def complete_directly(kind: Kind, request: JobRequest, settings: Settings) -> Completion:
    """The same without a worker: by an engine of this process, for nobody else."""
    asked = kind.prompt(request, settings.max_output_tokens)
    engine, seconds = _direct_engine(), settings.deadline_seconds
    model = request.model or settings.model_name
    if isinstance(asked, ToEmbed):
        return engine.embed(asked, model=model, remaining_seconds=seconds)
    return engine.complete(asked, model=model, remaining_seconds=seconds)


@lru_cache(maxsize=1)
def _direct_engine() -> Engine:
    return open_engine(get_settings())
