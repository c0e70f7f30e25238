"""Steps over an engine: the parts that are the same in a worker and in a direct call."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import cached_property, lru_cache

from local_llm_service.tasks.steps.counts import TokenCounts
from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.tasks.steps.whole_prompt import (
    SHORT_CHARACTERS,
    SMALLEST_WINDOW,
    WholePrompt,
)
from local_llm_service.worker.engine import Capabilities, Engine, open_engine
from local_llm_service.worker.engine.engines import capabilities_of
from local_llm_service.worker.errors import (
    ContextOverflow,
    DeadlineExceeded,
    InvalidOutput,
    InvalidRequest,
)
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings, get_settings
from local_llm_service.worker.tokens.book import TokenBook
from local_llm_service.worker.tokens.counting import counting
from local_llm_service.worker.tokens.fixed_rates import FixedRates
from local_llm_service.worker.tokens.model_tokens import ModelTokens

#: A shorter completion teaches too little for the time that it takes.
LESSON_CHARACTERS = 200


class EngineSteps(ABC):
    """One job's steps; see Steps. `spent` is what they have cost."""

    def __init__(self, engine: Engine, model: str, settings: Settings, book: TokenBook) -> None:
        """`model` is the name to ask for."""
        self.engine, self.model, self.settings = engine, model, settings
        self.spent = Spent()
        #: Of a model that leaves the house: the job's steps that do not.
        self.home: EngineSteps | None = None
        self._book = book
        #: The prompt that the last step asked for the first time.
        self._first: Prompt | None = None

    @cached_property
    def tokens(self) -> ModelTokens:
        """What is known of the model's tokens."""
        return self._book.of(self.known_as)

    @property
    def known_as(self) -> str:
        """The name under which that is kept."""
        return full_name(self.model)

    @property
    def max_output_tokens(self) -> int:
        """See Steps."""
        return self.settings.max_output_tokens

    @property
    def context_tokens(self) -> int:
        """See Steps."""
        return self.engine.context_tokens(self.model)

    @property
    def steps(self) -> int:
        """See Steps."""
        return self.spent.steps

    @property
    def at_home(self) -> EngineSteps:
        """See Steps."""
        return self.home or self

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        """See Steps."""
        try:
            completion = self.complete(prompt, shared=shared)
        except ContextOverflow as error:
            raise self._taught_by(error, prompt) from None
        except InvalidOutput as error:
            self.spent.completion_tokens += error.tokens  # written, and stopped
            raise
        self.spent.add_step(completion, asks_again=self._asks_again(prompt))
        self._whole_prompt(prompt, completion)
        if self._teaches(completion):
            self._learn(completion.text, completion.completion_tokens)
        return completion

    @property
    def promised(self) -> Capabilities:
        """What the engine of this model promises."""
        return capabilities_of(self.engine, self.model)

    def embed(self, texts: ToEmbed) -> Completion:
        """See Steps."""
        completion = self.vectors(texts)
        self.spent.add_step(completion)
        self.spent.answer_prompt_tokens = 0  # no model that chats makes vectors
        return completion

    def count(self, text: str) -> int:
        """See Steps. Where a count would cost money, or tell nothing, it is what the text can have
        at most."""
        if not self.promised.counts_cheaply:
            return self.most_tokens(text)
        return self._counts.count(text)

    def most_tokens(self, text: str) -> int:
        """See Steps."""
        return self.tokens.rates.most_tokens(text)

    def likely_tokens(self, text: str) -> int:
        """See Steps."""
        return self._rates.likely_tokens(text)

    @cached_property
    def _rates(self) -> FixedRates:
        """The rates by which this job sizes what it asks; they stay as they are."""
        return FixedRates.of(self.tokens.rates)

    @cached_property
    def _counts(self) -> TokenCounts:
        return TokenCounts(self.tokens, self._evaluated, lambda: self.context_tokens, self._learn)

    def _evaluated(self, text: str) -> int:
        """The tokens of a prompt that counts a text, as the model server says them."""
        completion = self.complete(counting(text), shared=True)
        self.spent.add_cost(completion)
        return completion.prompt_tokens

    def _whole_prompt(self, prompt: Prompt, completion: Completion) -> None:
        """Raise ContextOverflow if the model did not read all of the prompt, or learn from it.

        A suspicion is verified by counting. Where that costs money, or tells nothing, there is
        none: what may be true of a good answer is no reason to throw it away.
        """
        if not self.promised.counts:
            return
        is_short = sum(len(one["content"]) for one in prompt.messages) < SHORT_CHARACTERS
        if is_short and completion.prompt_tokens + completion.completion_tokens <= SMALLEST_WINDOW:
            return
        if self.promised.counts_cheaply:
            check = WholePrompt(self.tokens, self._counts, self._evaluated)
            check.check(prompt, completion, self.context_tokens)
        if not (is_short or prompt.tools):  # of tools the model reads more than the messages
            self._learn(_text_of(prompt), completion.prompt_tokens)

    def _teaches(self, completion: Completion) -> bool:
        """Whether an answer tells how many tokens a text has. That of a model which thinks first
        has more tokens than its text."""
        if len(completion.text) < LESSON_CHARACTERS or completion.tool_calls:
            return False
        is_all = completion.completion_tokens <= self.most_tokens(completion.text)
        return self.promised.counts and is_all

    def _taught_by(self, error: ContextOverflow, prompt: Prompt) -> ContextOverflow:
        """The error with both numbers; what it says of the prompt's tokens is learned."""
        if not error.message.startswith(ContextOverflow.REFUSED):
            return error
        self.tokens.read_of_longer = 0
        text = _text_of(prompt)
        if error.sizes is not None:
            at_least = error.sizes[0]
            self._learn(text, at_least)
        else:  # 0.24 does not say them
            room, likely = self.context_tokens, self.likely_tokens(text)
            at_least = room + 1
            if likely < at_least:
                self._learn(text, at_least)
            error = ContextOverflow.about(error.message, max(likely, at_least), room)
        # A later run meets the same refusal, and goes on by the same rates.
        self._rates = self._rates.at_least(text, at_least)
        return error

    def _asks_again(self, prompt: Prompt) -> bool:
        """Whether a prompt is the first one again, with more at its end: what was wrong."""
        first = self._first
        if first is not None and continues(prompt, first):
            return True
        self._first = prompt
        return False

    def _learn(self, text: str, tokens: int) -> None:
        self._book.learn(self.known_as, text, tokens)

    def keep(self) -> None:  # noqa: B027
        """See Steps. Without a worker nothing is kept."""

    def prompt_nano_usd(self, tokens: int) -> int:
        """See Steps. Without a worker nothing is paid."""
        return 0

    @property
    def paid_nano_usd(self) -> int:
        """What the completions of these steps and of those at home have cost, nanodollars; in an
        earlier run of the job, too. Without a worker nothing is paid."""
        return 0

    def progress(self, done: int, total: int, phase: str) -> None:  # noqa: B027
        """See Steps. Without a worker nobody looks."""

    def tell(self, prompt: Prompt, text: str) -> None:  # noqa: B027
        """Give readers the text of a prompt's completion that was not `spoken`, once it is to be
        the answer. Without a worker nobody reads."""

    def acquit(self) -> None:  # noqa: B027
        """Clear the job of its engine's deaths. Without a worker nobody charges it with any."""

    @abstractmethod
    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """The completion of a prompt, from the engine or known from before."""

    @abstractmethod
    def vectors(self, texts: ToEmbed) -> Completion:
        """One vector for each text."""


class DirectSteps(EngineSteps):
    """Without a worker: by an engine of this process, for nobody else.

    Nobody books here what a call costs, nor looks at what its tenant may: so no model is asked that
    costs money or leaves the house.
    """

    def __init__(self, model: str, settings: Settings) -> None:
        """Raises InvalidRequest for such a model."""
        fleet = Fleet.of(settings)
        if fleet.leaves_the_house(model) or fleet.price(model) is not None:
            raise InvalidRequest(
                "model: a direct call asks none that leaves the house or has a price",
                "Send it through the queue (`.delay()` or a client), or ask a local model.",
            )
        name = fleet.own_name(model)
        super().__init__(_direct_engine(), name, settings, _direct_book())
        self._ends_at = time.monotonic() + settings.deadline_seconds

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        return self.engine.complete(
            prompt, model=self.model, remaining_seconds=self._remaining_seconds()
        )

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps."""
        return self.engine.embed(
            texts, model=self.model, remaining_seconds=self._remaining_seconds()
        )

    def _remaining_seconds(self) -> float:
        remaining = self._ends_at - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline passed while the job was running")
        return remaining


@lru_cache(maxsize=1)
def _direct_engine() -> Engine:
    return open_engine(get_settings())


@lru_cache(maxsize=1)
def _direct_book() -> TokenBook:
    return TokenBook()


def continues(prompt: Prompt, first: Prompt) -> bool:
    """Whether a prompt has all the messages of another, and more at their end."""
    place = len(first.messages) - 1
    if len(prompt.messages) <= place or prompt.messages[:place] != first.messages[:place]:
        return False
    said, before = prompt.messages[place], first.messages[place]
    return said["role"] == before["role"] and said["content"].startswith(before["content"])


def _text_of(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)
