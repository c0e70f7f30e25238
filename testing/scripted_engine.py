"""An engine without a model: it answers what a test has scripted, and remembers what it was asked.

As unkind as a real one: an answer is cut at the caller's budget of tokens, a cancel and a deadline
end it midway, and text for a JSON kind need not be an instance of the schema.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from local_llm_service.testing.default_vector import default_vector
from local_llm_service.testing.scripted_run import Run, Scripted, Window, tokens
from local_llm_service.worker.engine.protocol import Capabilities, Stoppable, TextSink
from local_llm_service.worker.errors import InternalError, ServiceError
from local_llm_service.worker.prompt import Completion, JsonSchema, Message, Model, Prompt, ToEmbed
from local_llm_service.worker.tokens.counting import is_counting


@dataclass(frozen=True)
class Asked:
    """One prompt that the engine was given. `schema` is None for free text."""

    messages: list[Message]
    model: str
    schema: JsonSchema | None
    max_tokens: int

    @property
    def text(self) -> str:
        """The last message: for most kinds, what the caller gave."""
        return self.messages[-1]["content"]


class ScriptedEngine:
    """See `worker.engine.protocol.Engine`. Threads share it."""

    def __init__(self, models: Sequence[str]) -> None:
        self.model_names = list(models)
        self.asked: list[Asked] = []
        #: Tokens of every model's context, and whether longer prompts are cut in silence.
        self.context, self.cuts = 8192, False
        #: Texts that were only counted.
        self.counted: list[str] = []
        self._script: deque[Scripted] = deque()
        self._always = Scripted()
        self._delay_seconds = 0.0
        self._changed = threading.Condition()
        self._held = self._closed = False
        #: What went wrong in a function of the test that was to make a text.
        self.faults: list[Exception] = []

    # --- the script ----------------------------------------------------------------------------

    def add(self, step: Scripted, times: int | None) -> None:
        """Answer so the next `times` times; None: from now on whenever nothing else is scripted."""
        with self._changed:
            step = replace(step, delay_seconds=step.delay_seconds + self._delay_seconds)
            self._delay_seconds = 0.0
            if times is None:
                self._always = step
            else:
                self._script.extend([step] * times)

    def delay(self, seconds: float) -> None:
        """Let the next answer that is scripted, or the default one, begin so late."""
        self._delay_seconds += seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let every answer wait until the end of the block."""
        self._hold(True)
        try:
            yield
        finally:
            self._hold(False)

    def _hold(self, held: bool) -> None:
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def wait_until_asked(self, times: int, timeout_seconds: float) -> bool:
        """Whether the engine was asked so often, in all, before the time was over."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.asked) >= times, timeout_seconds)

    @property
    def left(self) -> int:
        """How many scripted answers nobody has asked for."""
        return len(self._script)

    # --- the engine ----------------------------------------------------------------------------

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        """Answer by the next step of the script. A prompt that only counts takes none, nor does one
        that is refused, since it is longer than the context.

        Raises as Engine.complete.
        """
        window = Window(self.context, self.cuts)
        run = Run(prompt, model, remaining_seconds, stoppable, on_text, window)
        if is_counting(prompt.messages, prompt.max_tokens):
            self.counted.append(prompt.messages[-1]["content"])
            return run.answer(Scripted(("A",)))
        window.read(prompt.messages)
        with self._changed:
            step = self._next(prompt, model)
            self._changed.notify_all()
            sleep = self._changed.wait
            run.wait(float("inf"), lambda: not self._held or self._closed, sleep)
            run.wait(step.delay_seconds, lambda: self._closed, sleep)
            if self._closed:
                raise InternalError("the test is over")
        try:
            return run.answer(step)
        except ServiceError:
            raise
        except Exception as fault:
            self.faults.append(fault)
            raise

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """Vectors in which texts that share words are alike; no step of the script is used."""
        messages: list[Message] = [{"role": "user", "content": text} for text in texts.texts]
        run = Run(Prompt((), 1), model, remaining_seconds, stoppable, None, Window(self.context))
        with self._changed:
            self.asked.append(Asked(messages, model, None, 0))
            self._changed.notify_all()
            run.wait(float("inf"), lambda: not self._held or self._closed, self._changed.wait)
            if self._closed:
                raise InternalError("the test is over")
        counted = sum(len(tokens(text)) for text in texts.texts)
        vectors = tuple(default_vector(text) for text in texts.texts)
        return Completion("", model, "stop", counted, 0, 0.0, 0.0, 0.0, vectors=vectors)

    def _next(self, prompt: Prompt, model: str) -> Scripted:
        messages: list[Message] = [{**one} for one in prompt.messages]
        self.asked.append(Asked(messages, model, prompt.schema, prompt.max_tokens))
        if self._script:
            return self._script.popleft()
        delay, self._delay_seconds = self._delay_seconds, 0.0
        return replace(self._always, delay_seconds=self._always.delay_seconds + delay)

    @property
    def capabilities(self) -> Capabilities:
        """All that there are."""
        return Capabilities()

    def context_tokens(self, model: str) -> int:
        """Tokens of the context, the same for every model."""
        return self.context

    def version(self) -> str:
        """A version for `health()`."""
        return "scripted"

    def models(self) -> list[Model]:
        """The models that this engine stands for."""
        return [Model(name, f"scripted-{name}", 0, None) for name in self.model_names]

    @property
    def occupied(self) -> int:
        """None: an answer ends with its call."""
        return 0

    def on_free(self, tell: Callable[[], None]) -> None:
        """Do nothing, as `occupied` never changes."""

    def notes(self) -> list[str]:
        """Nothing to know."""
        return []

    def close(self) -> None:
        """End all that waits, with an InternalError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
