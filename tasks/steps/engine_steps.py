"""Steps over an engine: the parts that are the same in a worker and in a direct call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache

from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.worker.engine import Engine, open_engine
from local_llm_service.worker.errors import DeadlineExceeded, InvalidOutput
from local_llm_service.worker.prompt import Completion, Message, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings, get_settings

#: A text's tokens are those of a prompt with it, less those of a prompt with this one, which has 1.
_ONE_TOKEN = "a"  # a text
_SYSTEM: Message = {"role": "system", "content": "Count."}


class EngineSteps(ABC):
    """One job's steps; see Steps. `spent` is what they have cost."""

    def __init__(self, engine: Engine, model: str, settings: Settings) -> None:
        """`model` is the name to ask for."""
        self.engine, self.model, self.settings = engine, model, settings
        self.spent = Spent()

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

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        """See Steps."""
        try:
            completion = self.complete(prompt, shared=shared)
        except InvalidOutput as error:
            self.spent.completion_tokens += error.tokens  # written, and stopped
            raise
        self.spent.add_step(completion)
        return completion

    def embed(self, texts: ToEmbed) -> Completion:
        """See Steps."""
        completion = self.vectors(texts)
        self.spent.add_step(completion)
        return completion

    def count(self, text: str) -> int:
        """See Steps."""
        with_text, with_one = self._evaluated(text), self._evaluated(_ONE_TOKEN)
        return max(0, with_text - with_one + 1)

    def _evaluated(self, text: str) -> int:
        messages = (_SYSTEM, Message(role="user", content=text))
        prompt = Prompt(messages, 1, spoken=False)
        completion = self.complete(prompt, shared=True)
        self.spent.add_cost(replace(completion, text=""))
        return completion.prompt_tokens

    def most_tokens(self, text: str) -> int:
        """See Steps. No token stands for less than a byte."""
        return len(text.encode(errors="surrogatepass"))

    def likely_tokens(self, text: str) -> int:
        """See Steps."""
        return -(-self.most_tokens(text) // 3)

    def progress(self, done: int, total: int, phase: str) -> None:  # noqa: B027
        """See Steps. Without a worker nobody looks."""

    @abstractmethod
    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """The completion of a prompt, from the engine or known from before."""

    @abstractmethod
    def vectors(self, texts: ToEmbed) -> Completion:
        """One vector for each text."""


class DirectSteps(EngineSteps):
    """Without a worker: by an engine of this process, for nobody else."""

    def __init__(self, model: str, settings: Settings) -> None:
        super().__init__(_direct_engine(), model, settings)

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
        remaining = self.settings.deadline_seconds - self.spent.seconds
        if remaining <= 0:
            raise DeadlineExceeded("the deadline passed while the job was running")
        return remaining


@lru_cache(maxsize=1)
def _direct_engine() -> Engine:
    return open_engine(get_settings())
