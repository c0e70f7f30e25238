"""Steps without an engine, for tests of programs: they say what a test has written down."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.testing.scripted_run import tokens
from local_llm_service.worker.engine import Capabilities, Engine
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.tokens.book import TokenBook


@lru_cache
def _settings(max_output_tokens: int) -> Settings:
    """Reading the environment takes a millisecond."""
    return Settings(max_output_tokens=max_output_tokens)


class Said(EngineSteps):
    """Gives the completions in their order; one too many is an IndexError, or the last `again`.

    A text has the tokens that the scripted engine of `testing/` would count.
    """

    def __init__(
        self,
        *completions: Completion,
        context_tokens: int = 8192,
        max_output_tokens: int = 2048,
        again: bool = False,
    ) -> None:
        settings = _settings(max_output_tokens)
        super().__init__(cast(Engine, None), "m", settings, TokenBook())
        self._completions, self._context_tokens = list(completions), context_tokens
        self._again = again
        #: What was asked, in order, and what was said of the progress.
        self.prompts: list[Prompt] = []
        self.shared: list[bool] = []
        self.told: list[tuple[int, int, str]] = []
        #: How often the last step was to be kept at once; what a token of a prompt costs.
        self.kept, self.nano_usd = 0, 0

    @property
    def promised(self) -> Capabilities:
        """See EngineSteps."""
        return Capabilities()

    @property
    def context_tokens(self) -> int:
        """See Steps."""
        return self._context_tokens

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        self.prompts.append(prompt)
        self.shared.append(shared)
        return self._completions[0] if self._is_last else self._completions.pop(0)

    @property
    def _is_last(self) -> bool:
        return self._again and len(self._completions) == 1

    def _whole_prompt(self, prompt: Prompt, completion: Completion) -> None:
        """Believe the completion: its counts are what a test wrote down, whatever it was asked."""

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps."""
        return self._completions.pop(0)

    def count(self, text: str) -> int:
        """See Steps."""
        return len(tokens(text))

    def progress(self, done: int, total: int, phase: str) -> None:
        """See Steps."""
        self.told.append((done, total, phase))

    def keep(self) -> None:
        """See Steps."""
        self.kept += 1

    def prompt_nano_usd(self, tokens: int) -> int:
        """See Steps."""
        return tokens * self.nano_usd


def read_by(kind: Any, request: Any, *completions: Completion) -> Mapping[str, Any]:
    """The kind's own fields of the answer to a request, when the model says this, and insists."""
    fields: Mapping[str, Any] = kind.work(request, Said(*completions, again=True))
    return fields


#: Enough for any text to be one piece.
_ENDLESS_TOKENS = 2**40


class _Asked(BaseException):
    """Carries the prompt past the program, which may handle every Exception."""

    def __init__(self, asked: Prompt | ToEmbed) -> None:
        super().__init__()
        self.asked = asked


class _UntilAsked:
    """Steps that end the program at its first one. A text has as many tokens as characters."""

    steps = 0
    context_tokens = _ENDLESS_TOKENS

    def __init__(self, max_output_tokens: int) -> None:
        self.max_output_tokens = max_output_tokens
        self.spent = Spent()

    @property
    def at_home(self) -> _UntilAsked:
        return self

    def __call__(self, prompt: Prompt, *, shared: bool = False) -> Completion:
        raise _Asked(prompt)

    def embed(self, texts: ToEmbed) -> Completion:
        raise _Asked(texts)

    def count(self, text: str) -> int:
        return len(text)

    most_tokens = likely_tokens = count

    def keep(self) -> None:
        pass

    def prompt_nano_usd(self, tokens: int) -> int:
        return 0

    def progress(self, done: int, total: int, phase: str) -> None:
        pass


def first_prompt(kind: Any, request: Any, max_output_tokens: int) -> Prompt | ToEmbed | None:
    """What a job asks first if its model has room for all of it; None: it asks nothing.

    Raises what the program raises before it asks.
    """
    try:
        kind.work(request, _UntilAsked(max_output_tokens))
    except _Asked as found:
        return found.asked
    return None
