"""The bodies of requests to Ollama's API: every member that Ollama knows.

Others are left out, as Ollama does, but not in silence: see `Body.unknown`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from local_llm_service.producers.http.ollama.options import Options, Whole

#: Perhaps with a host and a user before it, and a tag after it.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*")
#: A duration as Go writes it: "5m", "1h30m", "0".
_DURATION = re.compile(r"[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+)")
_NO_TIME = re.compile(r"[-+]?(0|([0.]+(ns|us|µs|ms|s|m|h))+)")


def _model_name(value: str) -> str:
    if not value:
        raise ValueError("is required")
    if not _NAME.fullmatch(value):
        raise ValueError("is no model's name, as llama3.1:8b")
    return value


def _keep_alive(value: float | str | None) -> float | str | None:
    if isinstance(value, str) and not _DURATION.fullmatch(value):
        raise ValueError('must be seconds, or a duration as "5m"')
    return value


def _format(value: Any) -> Any:
    if value in (None, ""):
        return None
    if value != "json" and not isinstance(value, dict):
        raise ValueError('must be "json" or a JSON Schema (an object)')
    return value


def _no_thinking(value: Any) -> Any:
    if value not in (None, False, ""):
        raise ValueError("is not done here: models are not asked for what they think; leave it out")
    return value


def _refused(reason: str) -> AfterValidator:
    """Take a member only where it says nothing."""

    def check(value: Any) -> Any:
        if value not in (None, False, "", 0, []):
            raise ValueError(f"{reason}; leave it out")
        return value

    return AfterValidator(check)


_TEXT_ONLY = _refused("is not done here: this service sends and makes text only")

ModelName = Annotated[str, Field(max_length=200), AfterValidator(_model_name)]
KeepAlive = Annotated[float | str | None, AfterValidator(_keep_alive)]
Format = Annotated[Any, BeforeValidator(_format)]
Think = Annotated[Any, BeforeValidator(_no_thinking)]


class Body(BaseModel):
    """What all have. `keep_alive` is taken without effect: workers decide what stays loaded.

    `keep_local` is the service's own; clients that can only send `options` send it there.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    model: ModelName
    options: Options | None = None
    keep_alive: KeepAlive = None
    keep_local: bool | None = None

    @property
    def stays_local(self) -> bool:
        """Whether no word of it may leave one's own hardware."""
        return bool(self.keep_local or self.given.keep_local)

    @property
    def given(self) -> Options:
        """The options, also where there are none."""
        return self.options or Options()

    @property
    def unknown(self) -> list[str]:
        """The members that no Ollama knows, and that mean nothing here."""
        options = [f"options.{name}" for name in self.given.model_extra or ()]
        return [*(self.model_extra or ()), *options]

    @property
    def unloads(self) -> bool:
        """Whether the model is to leave the memory after the call."""
        alive = self.keep_alive
        return alive is not None and (alive == 0 or bool(_NO_TIME.fullmatch(str(alive))))


class Completing(Body):
    """What chat and generate share.

    Nothing is ever cut, whatever `truncate` and `shift` say: a prompt that is too long is refused.
    """

    stream: bool | None = True
    format: Format = None
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: Annotated[bool | None, _refused("is not done here")] = Field(
        None, alias="_debug_render_only"
    )
    logprobs: bool | None = None
    top_logprobs: Whole | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the reply comes in lines: Ollama's default."""
        return self.stream is not False


class ChatBody(Completing):
    """POST /api/chat. Without messages it asks only for the model to be loaded."""

    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None


class GenerateBody(Completing):
    """POST /api/generate. Without a prompt it asks only for the model to be loaded.

    The prompt always goes through the model's template, with `system` as the system message.
    """

    prompt: str | None = None
    system: str | None = None
    template: Annotated[str | None, _refused("is not done here: the model's own is used")] = None
    context: Annotated[
        list[int] | None, _refused("is not done here: use /api/chat, which takes the messages")
    ] = None
    raw: Annotated[bool | None, _refused("is not done here: the model's template is used")] = None
    suffix: Annotated[str | None, _refused("is not done here")] = None
    images: Annotated[list[Any] | None, _TEXT_ONLY] = None
    width: Annotated[Whole | None, _TEXT_ONLY] = None
    height: Annotated[Whole | None, _TEXT_ONLY] = None
    steps: Annotated[Whole | None, _TEXT_ONLY] = None


class EmbedBody(Body):
    """POST /api/embed. A text that is too long is refused, whatever `truncate` says."""

    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: Annotated[Whole, Field(ge=0)] | None = None


class EmbeddingsBody(Body):
    """POST /api/embeddings, the older form: one text."""

    prompt: str | None = None
    truncate: bool | None = None


class ShowBody(BaseModel):
    """POST /api/show. `name` is the older word for `model`; `verbose` has nothing more to show."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    model: ModelName | None = None
    name: ModelName | None = None
    verbose: bool | None = None
