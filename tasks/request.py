"""Requests: the options that all kinds share, the types of their fields, and parsing.

Parsing runs in the caller's process, before anything is queued, and again in the worker, because a
message may come from elsewhere (`send_task`, another language). The caller passes the limits in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeGuard, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from local_llm_service.tasks.answer import is_answer, keeps_local, text_of
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.bounds import LONGEST_DEADLINE_SECONDS

Priority = Literal["high", "normal", "low"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request, from the settings of the process that validates it."""

    max_prompt_chars: int
    max_messages: int
    max_schema_depth: int
    max_output_tokens: int


def limits_of(info: ValidationInfo) -> Limits:
    """The limits of the validation that runs now."""
    if not isinstance(info.context, Limits):
        raise TypeError("validate with context=Limits(...)")
    return info.context


def check_chars(chars: int, info: ValidationInfo) -> None:
    """Raise ValueError when an input has more characters than MAX_PROMPT_CHARS."""
    limit = limits_of(info).max_prompt_chars
    if chars > limit:
        raise ValueError(f"at most {limit} characters (MAX_PROMPT_CHARS), got {chars}")


def check_unicode(text: str) -> None:
    """Raise ValueError for half a character (a lone surrogate), which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None


def _text(value: str, info: ValidationInfo) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    check_unicode(value)
    check_chars(len(value), info)
    return value


def _tokens(value: int, info: ValidationInfo) -> int:
    limit = limits_of(info).max_output_tokens
    if value > limit:
        raise ValueError(f"at most {limit} tokens (MAX_OUTPUT_TOKENS), got {value}")
    return value


def _is_list_of_answers(value: object) -> TypeGuard[list[object]]:
    """Whether a chord's header may have made it: parts of another app count where one is ours."""
    if not isinstance(value, list) or not any(is_answer(item) for item in value):
        return False
    return all(isinstance(item, str) or is_answer(item) for item in value)


def from_answer(value: object) -> object:
    """Replace an answer of this service, or a list of them, by its text.

    A chain passes on one answer, a chord a list.
    """
    if _is_list_of_answers(value):
        return "\n\n".join(str(from_answer(item)) for item in value)
    if not is_answer(value):
        return value
    try:
        return text_of(value)
    except TypeError:
        return value  # not an answer of ours after all, as those are JSON


#: What a JSON Schema can say of a text that is not empty: it holds more than Python's white space.
NOT_EMPTY: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "pattern": r"[^\s\u0085\u001c-\u001f]|\ufeff",
}
#: Text that people wrote, not empty, up to MAX_PROMPT_CHARS; an answer of ours counts as its text.
Text = Annotated[
    str, BeforeValidator(from_answer), AfterValidator(_text), WithJsonSchema(NOT_EMPTY)
]
#: A budget of tokens, up to MAX_OUTPUT_TOKENS.
Tokens = Annotated[int, Field(ge=1), AfterValidator(_tokens)]

#: Options that cannot change an answer, and those that a fingerprint takes by arguments of their
#: own. All other fields, future ones too, are content.
_NOT_CONTENT = {"model", "priority", "cache", "cache_scope", "deadline_seconds", "stream"}


class JobRequest(BaseModel):
    """The options of every kind. Subclasses add their own arguments and name the positional ones.

    `priority` chooses the queue (default: the kind's). Without `cache` the job neither reads nor
    writes the cache; `cache_scope` separates tenants. `deadline_seconds` bounds the whole job from
    submit to answer (default DEADLINE_SECONDS). `model` defaults to the worker's MODEL_NAME. With
    `stream` the job's text can be read by its id while the model writes it. With `keep_local` no
    word of it leaves one's own hardware, whatever happens.
    """

    # Built at the first call, so that `from tasks import ...` stays light.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    POSITIONAL: ClassVar[tuple[str, ...]] = ()

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    priority: Priority | None = None
    cache: bool = True
    cache_scope: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    deadline_seconds: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_SECONDS)] | None = None
    stream: bool = False
    keep_local: bool = False

    def content(self) -> dict[str, object]:
        """Everything that can change the answer, as JSON-like data under the callers' names.

        Defaults are filled in, so an option left out equals one given with its default. `model` and
        `cache_scope` are left out, as a fingerprint takes them by arguments of their own.
        """
        return self.model_dump(mode="json", by_alias=True, exclude=_NOT_CONTENT)


R = TypeVar("R", bound=JobRequest)


def parse(
    request: type[R], args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, limits: Limits
) -> R:
    """Bind a call's arguments to a request and validate it.

    What is made of an answer that had to stay on one's own hardware has to stay there, too. Raises
    InvalidRequest, which names each wrong field with its limit, but no value.
    """
    positional = dict(zip(request.POSITIONAL, args or (), strict=False))
    given = dict(kwargs or {})
    if len(args or ()) > len(request.POSITIONAL):
        raise InvalidRequest(
            f"too many positional arguments: at most {len(request.POSITIONAL)}",
            f"Only {', '.join(request.POSITIONAL)} can be positional; give the others by name.",
        )
    if twice := positional.keys() & given.keys():
        raise InvalidRequest(f"{min(twice)}: given twice, by position and by name")
    if any(map(keeps_local, (*positional.values(), *given.values()))):
        given["keep_local"] = True
    try:
        return request.model_validate(positional | given, context=limits)
    except ValidationError as error:
        raise InvalidRequest(_explain(_problems(error))) from None


def check_shared(request: type[R], kwargs: Mapping[str, Any], limits: Limits) -> None:
    """Validate arguments that many calls share; what each call adds may be missing.

    Raises InvalidRequest as `parse` does.
    """
    try:
        request.model_validate(kwargs, context=limits)
    except ValidationError as error:
        if wrong := [one for one in _problems(error) if one["loc"] and one["loc"][0] in kwargs]:
            raise InvalidRequest(_explain(wrong)) from None


#: Characters of a name that an error repeats: a name is as long as its sender likes.
_NAME_MOST = 80
_MEMBER = re.compile(r"[a-z_]+(\.[a-z_]+)*: ", re.ASCII)


def _problems(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False, include_context=False)


def said_of(problem: ErrorDetails) -> str:
    """What is wrong, without the names of classes that callers cannot know."""
    if problem["type"] in ("model_type", "model_attributes_type"):
        return "must be a JSON object"
    message = problem["msg"].removeprefix("Value error, ")
    if message.startswith("Value should have at "):  # a text that another check came before
        return message.replace("items after validation", "characters").replace(
            "item after validation", "character"
        )
    return message


def _explain(problems: Sequence[ErrorDetails]) -> str:
    """One line: `field: what is wrong; field: ...`, without any input."""
    lines = []
    for problem in problems[:5]:
        path = ".".join(str(part)[:_NAME_MOST] for part in problem["loc"])
        message = said_of(problem)
        if path:
            # A check of a whole object says by itself which of its members is wrong.
            message = f"{path}{'.' if _MEMBER.match(message) else ': '}{message}"
        lines.append(message)
    if len(problems) > len(lines):
        lines.append(f"and {len(problems) - len(lines)} more")
    return "; ".join(lines)
