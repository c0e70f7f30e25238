"""What a job does between two of its steps: keep the one that is done, find the next, make room.

A job of one step does nothing of this. Redis away, or full: the work goes on without.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import redis

from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import Cancelled, ServiceError
from local_llm_service.worker.fingerprint import fingerprint, full_name
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.lease.in_flight import InFlightDelivery, Interrupted, Yielded
from local_llm_service.worker.prompt import Completion, Prompt
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store.keys import QUEUES
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.step_entry import completion_in, entry_of
from local_llm_service.worker.store.steps import NOT_SAID, Onward, StepNote, own_name
from local_llm_service.worker.tokens.fixed_rates import FixedRates

logger = logging.getLogger(__name__)

#: Raise it when what is kept of a step, or the making of its name, changes its meaning.
_VERSION = 1


@dataclass(slots=True)
class _Step:
    """One step of a run, counted from 1, and its completion once the engine has made it.

    `name` is that under which it is kept, once somebody asks; `is_own`: for this job alone.
    """

    number: int
    prompt: Prompt
    completion: Completion | None = None
    name: str = ""
    is_own: bool = False


class KeptSteps:
    """The steps of one delivery, as far as they are in Redis."""

    def __init__(
        self,
        request: JobRequest,
        runtime: WorkerRuntime,
        in_flight: InFlightDelivery,
        *,
        model: str,
        revision: str | None,
        leads: str,
    ) -> None:
        """Without a `revision` of the model nothing is kept for other jobs; `leads` as in
        `run.py`."""
        self._runtime, self._in_flight = runtime, in_flight
        self._model, self._revision, self._scope = model, revision, request.cache_scope
        #: Who goes on with the work finds what is kept for it under this name.
        self.place = leads or in_flight.delivery.task_id
        self._fixed: FixedRates | None = None
        self._step: _Step | None = None
        #: How often each prompt was asked whose completion is of this job alone.
        self._own = Counter[str]()
        self._progress, self._is_progress_told = NOT_SAID, True
        self._is_refused = False

    def begin(self, prompt: Prompt, *, shared: bool) -> Completion | None:
        """Begin the next step; its completion, if that is known from before.

        `shared`: look for what other jobs have kept. Raises Yielded, Interrupted, and Cancelled.
        """
        before = self._step
        step = self._step = _Step(1 if before is None else before.number + 1, prompt)
        may_be_known = self._has_run_before or (shared and self._is_for_all(prompt))
        if before is None and not may_be_known and self._is_progress_told:
            return None
        return self._pause(before, step, may_be_known=may_be_known)

    def done(self, completion: Completion) -> None:
        """Note the completion of the step that was begun; it is kept when the next one begins."""
        if self._step is not None:
            self._step.completion = completion

    def keep(self) -> None:
        """Keep the step that is done now, as the next one is asked of another engine.

        Raises as `begin`.
        """
        before = self._step
        if before is not None and before.completion is not None:
            following = _Step(before.number + 1, before.prompt)
            self._pause(before, following, may_be_known=False)

    def paid_name(self) -> str:
        """The name within `place` of the step that was begun, should it be bought: no task id is in
        it, as another job of the group may go on with the work."""
        if self._step is None:
            return ""
        self._give_name(self._step)
        task_id = self._in_flight.delivery.task_id
        return self._step.name.removeprefix(f"{task_id}.")

    def fixed_rates(self) -> FixedRates | None:
        """The rates by which an earlier run sized its prompts, if it kept them."""
        if not self._has_run_before:
            return None
        try:
            return FixedRates.read(self._runtime.store.steps.fixed_rates(self.place))
        except redis.RedisError as error:
            self._say(error)
            return None

    def fix(self, rates: FixedRates) -> FixedRates:
        """Keep these rates for later runs, with the next step."""
        self._fixed = rates
        return rates

    @property
    def _has_run_before(self) -> bool:
        return self._in_flight.delivery.kept_steps > 0

    def tell(self, progress: Progress) -> None:
        """Take this for how far the job is; others see it when the next step begins."""
        self._progress, self._is_progress_told = progress, False

    def _pause(self, before: _Step | None, step: _Step, *, may_be_known: bool) -> Completion | None:
        if may_be_known:
            self._give_name(step)
        found = ""
        try:
            onward, found = self._runtime.store.steps.note_step(self._note(before, step))
        except redis.RedisError as error:
            self._say(error)
        else:
            self._fixed, self._is_progress_told = None, True
            if onward is not Onward.GO:
                raise _end_of(onward)
        if before is not None and Reason.DRAINING in self._runtime.gate.reasons:
            raise Interrupted("the worker is shutting down")
        return completion_in(found) if found else None

    def _say(self, error: redis.RedisError) -> None:
        if not self._is_refused:
            task_id = self._in_flight.delivery.task_id
            logger.warning("job %s: a step is not kept: %s", task_id, type(error).__name__)
        self._is_refused = True

    def _note(self, before: _Step | None, step: _Step) -> StepNote:
        delivery, runtime = self._in_flight.delivery, self._runtime
        queues = () if before is None else self._urgent_queues()
        note = StepNote(
            delivery.task_id,
            delivery.token,
            self._progress,
            kept=step.number - 1,
            next_name=step.name,
            place=self.place,
            rates="" if self._fixed is None else self._fixed.as_text(),
            savings=self._in_flight.work_so_far.savings_text,
            worker=runtime.name,
            models=self._freed_models() if queues else (),
            queues=queues,
        )
        if before is None or before.completion is None or not self._is_same_model():
            return note
        self._give_name(before)
        entry = entry_of(before.completion)
        return replace(note, name=before.name, entry=entry, own=before.is_own)

    def _urgent_queues(self) -> Sequence[str]:
        """The queues that the job makes room for; none where that would start no other job here."""
        delivery, runtime = self._in_flight.delivery, self._runtime
        if delivery.is_suspect or not runtime.gate.is_open:
            return ()
        if runtime.has_free_slot and not runtime.served.is_full(full_name(self._model)):
            return ()
        more_urgent = QUEUES[: QUEUES.index(delivery.queue)]
        return [queue for queue in more_urgent if queue in runtime.consumption.queues]

    def _freed_models(self) -> Sequence[str]:
        """What this worker would take jobs for, once this one has left, and does not anyway."""
        served = self._runtime.served
        taken = served.now() or () if self._runtime.has_free_slot else ()
        found = served.now(without=full_name(self._model)) or ()
        return [name for name in found if name not in taken]

    def _is_for_all(self, prompt: Prompt) -> bool:
        """Whether the completion is the same for every job, and may be shared."""
        sampling = prompt.sampling
        return self._revision is not None and (
            sampling.temperature == 0 or sampling.seed is not None
        )

    def _is_same_model(self) -> bool:
        """False for a model that was pulled again since the run began; True where nobody knows."""
        if self._revision is None:
            return True
        now = self._runtime.catalog.revision(full_name(self._model))
        return now is None or now == self._revision

    def _give_name(self, step: _Step) -> None:
        """Work out the name of a step, once."""
        if step.name:
            return
        prompt = step.prompt
        step.name = fingerprint(
            kind="step",
            template_version=_VERSION,
            model=full_name(self._model),
            revision=self._revision or "",
            content={
                "messages": list(prompt.messages),
                "max_tokens": prompt.max_tokens,
                "sampling": asdict(prompt.sampling),
                "schema": prompt.schema,
                "grammar": prompt.grammar,
                "tools": list(prompt.tools),
                "stop": list(prompt.stop),
                "top_logprobs": prompt.top_logprobs,
            },
            scope=self._scope,
        )
        if not self._is_for_all(prompt):
            self._own[step.name] += 1
            task_id = self._in_flight.delivery.task_id
            step.name = own_name(task_id, step.name, self._own[step.name])
            step.is_own = True


def _end_of(onward: Onward) -> ServiceError:
    """Why the run ends between two steps."""
    if onward is Onward.CANCELLED:
        return Cancelled("the job was cancelled")
    if onward is Onward.YIELD:
        return Yielded("a more urgent job waits")
    return Interrupted("this worker has lost the lease")
