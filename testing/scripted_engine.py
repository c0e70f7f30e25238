"""An engine without a model: it answers what a test has scripted, and remembers what it was asked.

As unkind as a real one: an answer is cut at the caller's budget of tokens, a cancel and a deadline
end it midway, and text for a JSON kind need not be an instance of the schema.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from local_llm_service.testing.default_answer import default_answer
from local_llm_service.worker.engine.protocol import Stoppable, TextSink
from local_llm_service.worker.errors import DeadlineExceeded, InternalError, ServiceError
from local_llm_service.worker.prompt import Completion, JsonSchema, Message, Model, Prompt

#: What counts as a token: a word with the white space after it.
_TOKEN = re.compile(r"\S+\s*|\s+")
#: Between two looks whether anybody still waits for an answer.
LOOK_SECONDS = 0.02

#: An answer's text, or what makes it of the prompt's messages.
Text = str | Callable[[list[Message]], str]


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


@dataclass(frozen=True)
class Scripted:
    """One step of the script: an answer in pieces, or an error after the pieces."""

    pieces: tuple[Text, ...] | None = None
    error: ServiceError | None = None
    delay_seconds: float = 0.0
    pause_seconds: float = 0.0


class ScriptedEngine:
    """See `worker.engine.protocol.Engine`. Threads share it."""

    def __init__(self, models: Sequence[str]) -> None:
        self.model_names = list(models)
        self.asked: list[Asked] = []
        self._script: deque[Scripted] = deque()
        self._always = Scripted()
        self._delay_seconds = 0.0
        self._changed = threading.Condition()
        self._held = self._closed = False

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
        """Answer by the next step of the script. Raises as Engine.complete."""
        run = _Run(prompt, model, remaining_seconds, stoppable, on_text)
        with self._changed:
            step = self._next(prompt, model)
            self._changed.notify_all()
            run.wait(self._changed, lambda: not self._held or self._closed, float("inf"))
            if self._closed:
                raise InternalError("the test is over")
            run.wait(self._changed, lambda: self._closed, step.delay_seconds)
        return run.answer(step)

    def _next(self, prompt: Prompt, model: str) -> Scripted:
        messages: list[Message] = [{**one} for one in prompt.messages]
        self.asked.append(Asked(messages, model, prompt.schema, prompt.max_tokens))
        if self._script:
            return self._script.popleft()
        delay, self._delay_seconds = self._delay_seconds, 0.0
        return replace(self._always, delay_seconds=self._always.delay_seconds + delay)

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


class _Run:
    """One call of `complete`."""

    def __init__(
        self,
        prompt: Prompt,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None,
        on_text: TextSink | None,
    ) -> None:
        self._prompt, self._model, self._stoppable = prompt, model, stoppable
        self._on_text = on_text
        self._began = time.monotonic()
        self._until = self._began + remaining_seconds

    def wait(
        self, changed: threading.Condition, condition: Callable[[], bool], seconds: float
    ) -> None:
        """Wait until a condition holds, for so long at most, while somebody wants the answer."""
        end = time.monotonic() + seconds
        while not condition() and (left := end - time.monotonic()) > 0:
            self._check()
            changed.wait(min(left, LOOK_SECONDS))
        self._check()

    def answer(self, step: Scripted) -> Completion:
        """Write the answer piece by piece, then raise the step's error if it has one."""
        began, text, finish_reason = time.monotonic(), "", "stop"
        for piece in self._pieces(step):
            self._pause(step.pause_seconds if text else 0.0)
            room = self._prompt.max_tokens - len(tokens(text))
            cut = "".join(tokens(piece)[:room])
            if cut:
                text += cut
                self._tell(cut)
            if len(cut) < len(piece):
                finish_reason = "length"
                break
        if step.error is not None:
            raise type(step.error)(*step.error.args)
        counted = sum(len(tokens(one["content"])) for one in self._prompt.messages)
        return Completion(
            text=text,
            model=self._model,
            finish_reason="length" if finish_reason == "length" else "stop",
            prompt_tokens=counted,
            completion_tokens=len(tokens(text)),
            load_seconds=0.0,
            prompt_seconds=began - self._began,
            generation_seconds=time.monotonic() - began,
        )

    def _pieces(self, step: Scripted) -> Iterator[str]:
        pieces = step.pieces
        if pieces is None:
            pieces = () if step.error is not None else (default_answer(self._prompt),)
        messages: list[Message] = [{**one} for one in self._prompt.messages]
        whole = [piece if isinstance(piece, str) else piece(messages) for piece in pieces]
        # One piece alone comes word by word, as a model writes it.
        yield from tokens(whole[0]) if len(whole) == 1 else whole

    def _pause(self, seconds: float) -> None:
        self.wait(threading.Condition(), lambda: False, seconds)

    def _tell(self, piece: str) -> None:
        if self._on_text is None:
            return
        try:
            self._on_text(piece)
        except Exception:  # noqa: BLE001  # as the protocol says: the answer goes on without it
            self._on_text = None

    def _check(self) -> None:
        stoppable = self._stoppable
        if stoppable is not None and stoppable.reason is not None:
            raise stoppable.reason
        if time.monotonic() < self._until:
            return
        if stoppable is None or stoppable.wanted_seconds() <= 0:
            raise DeadlineExceeded("the deadline passed while the job was running")


def tokens(text: str) -> list[str]:
    """A text in what counts as its tokens; together they are the text."""
    return _TOKEN.findall(text)
