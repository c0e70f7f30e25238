"""One answer of the scripted engine: its pieces, its budget of tokens, and what ends it early."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from local_llm_service.testing.default_answer import default_answer
from local_llm_service.worker.engine.protocol import Stoppable, TextSink
from local_llm_service.worker.errors import ContextOverflow, DeadlineExceeded, ServiceError
from local_llm_service.worker.prompt import Completion, Message, Prompt, ToolCall

#: What counts as a token: a word, or 16 letters of a longer one, with the white space around it.
_TOKEN = re.compile(r"\s*\S{1,16}\s*|\s+")
#: Between two looks whether anybody still waits for an answer.
LOOK_SECONDS = 0.02

#: An answer's text, or what makes it of the prompt's messages.
Text = str | Callable[[list[Message]], str]


@dataclass(frozen=True)
class Scripted:
    """One step of the script: an answer in pieces, or an error after the pieces.

    Without either it is the default answer. `tool_calls` are made after the pieces.
    """

    pieces: tuple[Text, ...] | None = None
    error: ServiceError | None = None
    delay_seconds: float = 0.0
    pause_seconds: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Window:
    """The context, in tokens. A longer prompt is refused; or cut in silence, as old servers do."""

    tokens: int
    cuts: bool = False

    def read(self, messages: Iterable[Message]) -> int:
        """The tokens of a prompt that the model reads. Raises ContextOverflow."""
        sent = sum(len(tokens(one["content"])) for one in messages)
        if sent <= self.tokens:
            return sent
        if not self.cuts:
            raise ContextOverflow.of(ContextOverflow.REFUSED, sent, self.tokens)
        return self.tokens // 2


class Run:
    """One call of `complete`."""

    def __init__(
        self,
        prompt: Prompt,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None,
        on_text: TextSink | None,
        window: Window,
    ) -> None:
        self._prompt, self._model, self._stoppable = prompt, model, stoppable
        self._on_text, self._window = on_text, window
        self._began = time.monotonic()
        self._until = self._began + remaining_seconds

    def wait(
        self,
        seconds: float,
        condition: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Wait for so long, or until a condition holds. Raises what ends the answer early."""
        end = time.monotonic() + seconds
        while not condition() and (left := end - time.monotonic()) > 0:
            self._check()
            sleep(min(left, LOOK_SECONDS))
        self._check()

    def answer(self, step: Scripted) -> Completion:
        """Write the answer piece by piece, then raise the step's error if it has one."""
        read = self._window.read(self._prompt.messages)
        began, pieces = time.monotonic(), self._pieces(step)
        whole, room = "".join(pieces), self._window.tokens - read
        text = "".join(tokens(whole)[: min(self._prompt.max_tokens, room)])
        place = 0
        for piece in pieces:
            self.wait(step.pause_seconds if place else 0.0)
            self._tell(text[place : place + len(piece)])
            place += len(piece)
        if step.error is not None:
            raise type(step.error)(*step.error.args)
        if text != whole and room < self._prompt.max_tokens:
            used = self._window.tokens
            raise ContextOverflow.of("the answer ran into the end of the window", used, used)
        return Completion(
            text=text,
            model=self._model,
            finish_reason="stop" if text == whole else "length",
            prompt_tokens=read,
            completion_tokens=len(tokens(text)),
            load_seconds=0.0,
            prompt_seconds=began - self._began,
            generation_seconds=time.monotonic() - began,
            tool_calls=step.tool_calls,
            logprobs=_logprobs(text, self._prompt.top_logprobs),
        )

    def _pieces(self, step: Scripted) -> list[str]:
        if step.pieces is None:
            return [] if step.error is not None else tokens(default_answer(self._prompt))
        messages: list[Message] = [{**one} for one in self._prompt.messages]
        pieces = [one if isinstance(one, str) else _made(one, messages) for one in step.pieces]
        # One piece alone comes word by word, as a model writes it.
        return tokens(pieces[0]) if len(pieces) == 1 else pieces

    def _tell(self, piece: str) -> None:
        if self._on_text is None or not piece:
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


def _made(make: Callable[[list[Message]], str], messages: list[Message]) -> str:
    text = make(messages)
    if not isinstance(text, str):
        raise TypeError(f"a function that makes a reply returns text, not {type(text).__name__}")
    return text


def _logprobs(text: str, top: int | None) -> tuple[dict[str, Any], ...]:
    """As a server writes them: each token was certain, and so there is no other."""
    if top is None:
        return ()
    made = [
        {"token": one, "logprob": 0.0, "bytes": list(one.encode(errors="replace"))}
        for one in tokens(text)
    ]
    return tuple({**one, "top_logprobs": [one][:top]} for one in made)


def tokens(text: str) -> list[str]:
    """A text in what counts as its tokens; together they are the text."""
    return _TOKEN.findall(text)
