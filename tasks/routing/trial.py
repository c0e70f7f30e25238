"""The steps of a try whose answer may not be taken: readers see its text once it is."""

from __future__ import annotations

from dataclasses import replace

from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed


class Trial:
    """Steps over those of a model; see Steps.

    `prompt` and `completion` are the last step's; the completion has probabilities where they were
    asked for.
    """

    def __init__(self, ask: EngineSteps, *, is_held_back: bool, logprobs: bool) -> None:
        """`is_held_back`: readers wait for `tell`. `logprobs`: ask for the tokens' probabilities,
        also where the caller does not; its program gets those that it has asked for."""
        self._ask, self._is_held_back, self._logprobs = ask, is_held_back, logprobs
        self.prompt: Prompt | None = None
        self.completion: Completion | None = None
        #: The server refused to give them, though it takes the request.
        self.gives_no_logprobs = False

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        """See Steps."""
        asks_more = self._logprobs and prompt.top_logprobs is None
        try:
            completion = self._step(prompt, asks_more, shared)
        except InvalidRequest:
            if not asks_more:
                raise
            completion = self._step(prompt, False, shared)
            self._logprobs, asks_more, self.gives_no_logprobs = False, False, True
        self.prompt, self.completion = prompt, completion
        return replace(completion, logprobs=()) if asks_more else completion

    def _step(self, prompt: Prompt, asks_more: bool, shared: bool) -> Completion:
        sent = replace(
            prompt,
            spoken=prompt.spoken and not self._is_held_back,
            top_logprobs=0 if asks_more else prompt.top_logprobs,
        )
        return self._ask(sent, shared=shared)

    def tell(self) -> None:
        """Give readers the text that was held back: that of the last step."""
        if self._is_held_back and self.prompt is not None and self.completion is not None:
            self._ask.tell(self.prompt, self.completion.text)

    @property
    def max_output_tokens(self) -> int:
        """See Steps."""
        return self._ask.max_output_tokens

    @property
    def context_tokens(self) -> int:
        """See Steps."""
        return self._ask.context_tokens

    @property
    def steps(self) -> int:
        """See Steps."""
        return self._ask.steps

    @property
    def spent(self) -> Spent:
        """See Steps."""
        return self._ask.spent

    @property
    def at_home(self) -> Trial:
        """See Steps: a model that is tried first does not leave the house."""
        return self

    def keep(self) -> None:
        """See Steps."""
        self._ask.keep()

    def prompt_nano_usd(self, tokens: int) -> int:
        """See Steps."""
        return self._ask.prompt_nano_usd(tokens)

    def embed(self, texts: ToEmbed) -> Completion:
        """See Steps."""
        return self._ask.embed(texts)

    def count(self, text: str) -> int:
        """See Steps."""
        return self._ask.count(text)

    def most_tokens(self, text: str) -> int:
        """See Steps."""
        return self._ask.most_tokens(text)

    def likely_tokens(self, text: str) -> int:
        """See Steps."""
        return self._ask.likely_tokens(text)

    def progress(self, done: int, total: int, phase: str) -> None:
        """See Steps."""
        self._ask.progress(done, total, phase)
