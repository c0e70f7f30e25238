"""What a job pays for: the most that a call can cost is booked before it is sent.

A completion that was received is kept before anything else, for whoever goes on with the work, and
is never bought again. A call that was cut off is paid, as far as anybody knows, and repeated once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from uuid import uuid4

import redis

from local_llm_service.worker import metrics
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BudgetExceeded,
    Cancelled,
    ContextOverflow,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    Unauthorized,
)
from local_llm_service.worker.fleet.price import Price, usd_of, usd_text
from local_llm_service.worker.fleet.remote_budget import RemoteBudget
from local_llm_service.worker.lease.in_flight import InFlightDelivery, Interrupted
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store.refusals import refusal
from local_llm_service.worker.store.savings import TOKENS_MOST
from local_llm_service.worker.store.spending import Booked, Booking, CallEnd
from local_llm_service.worker.store.step_entry import completion_in, entry_of

logger = logging.getLogger(__name__)

#: Errors after which nothing was generated, if no text had come: the server was not reached, or
#: answered with them at once.
_NOTHING_GENERATED = (
    OllamaUnreachable,
    OllamaBusy,
    ModelMissing,
    ModelFailed,
    InvalidRequest,
    ContextOverflow,
    Unauthorized,
    Forbidden,
)
#: What a server adds to a message, and to a request, of its own template: tokens, generously.
_MESSAGE_TOKENS, _REQUEST_TOKENS = 16, 256
#: Between two tries to tell Redis of a completion, s.
_PAUSE_SECONDS = 0.25
_AGAIN = "Send the job again, or ask a local model."


class PaidSteps:
    """The calls of one paid model that one delivery makes, one after the other.

    `nano_usd` is what their completions have cost, `wasted_nano_usd` the calls that brought none.
    """

    def __init__(
        self,
        runtime: WorkerRuntime,
        in_flight: InFlightDelivery,
        price: Price,
        *,
        place: str,
        row: str,
        most_tokens: Callable[[str], int],
    ) -> None:
        """`place` as in `KeptSteps`; `row` of the savings ledger; `most_tokens` is no fewer than a
        text has. Raises InvalidSetting where there is no budget."""
        self._spending, self._lease_seconds = runtime.store.spending, runtime.settings.lease_seconds
        self._in_flight, self._price, self._place, self._row = in_flight, price, place, row
        self._budget = RemoteBudget.of(runtime.settings)
        self._most_tokens = most_tokens
        self._open: Booking | None = None
        self.nano_usd = self.wasted_nano_usd = 0

    def begin(self, asked: Prompt | ToEmbed, step: str) -> Completion | None:
        """Book what a call can cost, under the step's name; its completion, if it was bought.

        Raises BudgetExceeded, BrokerUnreachable, Cancelled, Interrupted, and InternalError where
        what was bought cannot be read: nothing may be sent.
        """
        delivery = self._in_flight.delivery
        most = self._most_nano_usd(asked)
        booking = Booking(delivery.task_id, self._place, step, uuid4().hex, most, self._row)
        budget = self._budget
        try:
            booked, text = self._spending.book(booking, delivery.token, budget.day, budget.month)
        except redis.RedisError as error:
            why, hint = refusal(error) or ("cannot be reached", None)
            raise BrokerUnreachable(
                f"Redis {why}, so no paid model was asked: nothing can be booked", hint
            ) from None
        if booked is Booked.BOUGHT:
            completion = completion_in(text)
            if completion is None:  # of another version: to buy it again is not paid for
                raise InternalError("a completion that was bought cannot be read", _AGAIN)
            self.nano_usd += self._cost(completion, most)
            return completion
        if booked is not Booked.BOOKED:
            raise _refusal(booked, most, text)
        self._open = booking
        return None

    def done(self, completion: Completion) -> None:
        """Keep what was bought, and turn the booking into what it has cost.

        While Redis is away this is tried for a lease, unless the worker is to stop. After that the
        booking stays, and counts as wasted in the end.
        """
        booking, self._open = self._open, None
        if booking is None:
            return
        cost = self._cost(completion, booking.nano_usd)
        self.nano_usd += cost
        metrics.REMOTE_USD.labels("paid").inc(float(usd_of(cost)))
        entry = "" if completion.vectors else entry_of(completion)
        ends_at = time.monotonic() + self._lease_seconds
        while True:
            try:
                self._spending.buy(booking, cost, entry)
            except redis.RedisError as error:
                if time.monotonic() > ends_at or self._in_flight.reason is not None:
                    self._say("a completion that was paid is not kept", error)
                    return
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def failed(self, error: BaseException, *, has_text: bool) -> None:
        """End the booking of a call that raised; `has_text`: some of the answer had come,
        or tokens of it that are no text, as a model's thoughts."""
        booking, self._open = self._open, None
        if booking is None:
            return
        how = _end_of(error, has_text=has_text)
        if how is not CallEnd.FREE:
            self.wasted_nano_usd += booking.nano_usd
            metrics.REMOTE_USD.labels("wasted").inc(float(usd_of(booking.nano_usd)))
        try:
            self._spending.end_booking(booking, how)
        except redis.RedisError as away:
            self._say("a booking stays, and will count as wasted", away)

    def _say(self, what: str, error: redis.RedisError) -> None:
        task_id = self._in_flight.delivery.task_id
        logger.warning("job %s: %s: %s", task_id, what, type(error).__name__)

    def _most_nano_usd(self, asked: Prompt | ToEmbed) -> int:
        """What a call can cost, but for tokens that a server makes and shows to nobody."""
        if isinstance(asked, ToEmbed):
            texts, written = list(asked.texts), 0
        else:
            texts, written = _texts_of(asked), asked.max_tokens
        tokens = sum(self._most_tokens(text) + _MESSAGE_TOKENS for text in texts)
        return self._price.nano_usd(tokens + _REQUEST_TOKENS, written)

    def _cost(self, completion: Completion, most: int) -> int:
        """What a completion has cost; the most that it could where the server does not count, or
        says what nobody can believe."""
        read, written = completion.prompt_tokens, completion.completion_tokens
        is_counted = read > 0 and (written > 0 or not completion.text)
        is_counted = is_counted and max(read, written) <= TOKENS_MOST
        return self._price.nano_usd(read, written) if is_counted else most


def texts_name(asked: ToEmbed) -> str:
    """The name of a step that makes vectors."""
    digest = hashlib.sha256(json.dumps(asked.texts).encode())
    return f"vectors.{digest.hexdigest()}"


def _texts_of(prompt: Prompt) -> list[str]:
    """All that a server may count as part of a prompt."""
    texts = []
    for message in prompt.messages:
        calls = message.get("tool_calls")
        texts.append(message["role"] + message["content"] + message.get("tool_name", ""))
        if calls:
            texts.append(json.dumps(calls))
    texts += [json.dumps(tool) for tool in prompt.tools]
    if prompt.schema is not None:
        texts.append(json.dumps(prompt.schema))
    return texts


def _end_of(error: BaseException, *, has_text: bool) -> CallEnd:
    is_refused = isinstance(error, _NOTHING_GENERATED) and not has_text
    if is_refused or (isinstance(error, ServiceError) and not error.was_sent):
        return CallEnd.FREE
    if isinstance(error, Cancelled | DeadlineExceeded):
        return CallEnd.UNWANTED
    return CallEnd.CUT_OFF


def _refusal(booked: Booked, most: int, left: str) -> Exception:
    """Why a call must not be sent."""
    if booked is Booked.CANCELLED:
        return Cancelled("the job was cancelled")
    if booked is Booked.LOST:
        return Interrupted("this worker has lost the lease")
    if booked is Booked.CUT_OFF:
        return BudgetExceeded(
            "two paid calls for this answer were cut off, and a third is not paid for", _AGAIN
        )
    period = "today" if booked is Booked.DAY else "this month"
    can_cost, is_left = usd_text(most), usd_text(int(left))
    return BudgetExceeded(
        f"the call can cost {can_cost} USD, and REMOTE_BUDGET_USD leaves {is_left} USD for {period}"
    )
