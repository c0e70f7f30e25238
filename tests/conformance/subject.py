"""What the tests of this folder need to know of an engine and of its server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from local_llm_service.worker.engine import Engine
from tests.doubles.serving import Seen

#: How an answer goes wrong. "away": nobody listens. "refused_key": another API key is wanted.
Fault = Literal[
    "busy", "failed", "garbage", "missing", "not_a_model_server", "refused_key", "too_long"
]


@dataclass(frozen=True)
class Scene:
    """What a server is to do with the requests that follow: this answer, or this fault.

    `end`: "done", "cut" (the connection breaks), "silent" (the body ends without its last words),
    "error" (an error where the end should be), "hang" (nothing more is ever sent).
    """

    pieces: tuple[str, ...] = ("Hello", ", ", "wörld", " 🌍", ".")
    first_seconds: float = 0.0
    pause_seconds: float = 0.0
    end: Literal["done", "cut", "silent", "error", "hang"] = "done"
    finish: Literal["stop", "length"] = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    logprobs: tuple[float, ...] = ()
    fault: Fault | None = None


class Subject(ABC):
    """An engine and its server. `model` writes text; `embeds` gives vectors, if any model does.

    `other` is a model that the server does not have, and `checks_models` whether it minds.
    """

    name: ClassVar[str]
    model: str
    embeds: str | None = None
    other: ClassVar[str] = "nosuch:1b"
    checks_models: ClassVar[bool] = True
    #: What no error, log or repr may hold.
    key: ClassVar[str | None] = None

    @abstractmethod
    def engine(self, **settings: Any) -> Engine:
        """A new engine for the server, with settings of ours beside the defaults."""

    @abstractmethod
    def at_work(self) -> bool:
        """Whether the server writes or reads for anybody at this moment, as seen at the server."""


class Scripted(Subject):
    """A subject whose server does what a scene says. It listens on loopback at `port`."""

    port: int

    @abstractmethod
    def __enter__(self) -> Self:
        """Start the server."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Stop it."""

    @abstractmethod
    def play(self, scene: Scene) -> None:
        """Answer the requests that follow so."""

    @abstractmethod
    def heard(self) -> Sequence[Seen]:
        """The requests of prompts and of texts so far, as the server saw them.

        Those are left out by which an engine found out what a server does not take.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the server, as a kill does."""

    @abstractmethod
    def start(self) -> None:
        """Let it listen again where it listened before."""

    def at_work(self) -> bool:
        """See Subject."""
        return any(not one.finished and one.closed_at is None for one in self.heard())
