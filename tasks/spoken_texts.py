"""What readers see of a job while it is written: the texts of one delivery, for WorkerSteps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from local_llm_service.tasks.json_answers.extraction import NotJson, extracted
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.texts.held_back import in_sentences
from local_llm_service.worker.engine import TextSink
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.runtime import WorkerRuntime


class SpokenTexts:
    """The texts for readers, counted over all steps of the delivery: they keep the last one."""

    def __init__(
        self, request: JobRequest, runtime: WorkerRuntime, in_flight: InFlightDelivery, leads: str
    ) -> None:
        """`leads` as in `run.py`."""
        self._request, self._runtime, self._in_flight = request, runtime, in_flight
        self._leads = leads
        self._count = 0

    @contextmanager
    def written(self, prompt: Prompt) -> Iterator[TextSink | None]:
        """Where the engine's text goes: to readers, when one of those who wait wants it.

        It is all there before the job's result is. Nobody else can want the text of a job that
        shares nothing.
        """
        if not prompt.spoken or not (self._request.stream or self._leads):
            yield None
            return
        delivery = self._in_flight.delivery
        number, self._count = self._count, self._count + 1
        text = self._runtime.text_writer.open(delivery.task_id, delivery.token, self._leads, number)
        self._in_flight.on_text_wanted(text.want)
        if self._request.stream:
            text.want()
        pieces: list[str] = []

        def take(piece: str) -> None:
            pieces.append(piece)
            text.add(piece)

        try:
            yield in_sentences(text.add) if prompt.in_sentences else take
        except BaseException:  # whatever ends the work: no reader takes the rest for all
            text.end(is_complete=False)
            raise
        text.end(is_complete=_is_answer(prompt, "".join(pieces)))

    def tell(self, prompt: Prompt, text: str) -> None:
        """Give readers a text that is whole."""
        with self.written(prompt) as readers:
            if readers is not None and text:
                readers(text)


def _is_answer(prompt: Prompt, text: str) -> bool:
    """Whether an answer holds just what was written, so that readers need not look at it.

    Of sentences it may leave one out, and what stands around JSON is cut away.
    """
    if prompt.in_sentences or prompt.schema is None:
        return not prompt.in_sentences
    try:
        return extracted(text).text == text.strip()
    except NotJson:
        return False
