"""`compress`: a conversation within a budget of tokens, with what matters word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.compression.turns import Turn, transcript
from local_llm_service.tasks.conversation import UnicodeText, argument_chars
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, check_chars, limits_of
from local_llm_service.tasks.steps.protocol import Steps

#: Strings to keep in one call.
MOST_KEPT = 100
#: Most of the messages are quoted, not generated, so MAX_OUTPUT_TOKENS is no bound of them.
MOST_TARGET_TOKENS = 1_000_000


def _bounded(value: Any, info: ValidationInfo) -> Any:
    check_chars(argument_chars(value), info)
    return value


def _conversation(turns: list[Turn], info: ValidationInfo) -> list[Turn]:
    limit = limits_of(info).max_messages
    if len(turns) > limit:
        raise ValueError(f"at most {limit} messages (MAX_MESSAGES), got {len(turns)}")
    if not any(turn.role != "system" and turn.text.strip() for turn in turns):
        raise ValueError("must hold at least one message that is not empty and not from the system")
    check_chars(sum(len(turn.text) for turn in turns), info)
    return turns


def _kept(texts: list[str], info: ValidationInfo) -> list[str]:
    if len(texts) > MOST_KEPT:
        raise ValueError(f"at most {MOST_KEPT} texts, got {len(texts)}")
    if not all(text.strip() for text in texts):
        raise ValueError("no text may be empty")
    check_chars(sum(map(len, texts)), info)
    return texts


def _previous(text: str, info: ValidationInfo) -> str:
    check_chars(len(text), info)
    return text


class CompressRequest(JobRequest):
    """`messages` oldest first, as OpenAI's or Ollama's clients write them.

    `target_tokens` bounds all of the answer's `messages`, in the model's tokens. The last
    `keep_last` messages stay word for word where they fit, the strings in `keep` in any case.
    `previous_summary` is an earlier answer's `summary`; `messages` are then only those after it.
    """

    POSITIONAL: ClassVar = ("messages", "target_tokens", "model")

    messages: Annotated[list[Turn], BeforeValidator(_bounded), AfterValidator(_conversation)]
    target_tokens: Annotated[int, Field(ge=1, le=MOST_TARGET_TOKENS)] = 200
    keep_last: Annotated[int, Field(ge=0, le=1000)] = 2
    keep: Annotated[list[UnicodeText], AfterValidator(_kept)] = Field(default_factory=list)
    previous_summary: Annotated[UnicodeText, AfterValidator(_previous)] = ""


class Covered(BaseModel):
    """Indices of the request's messages: in the summary and its notes, or word for word."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    summarized: list[int]
    verbatim: list[int]


class CompressAnswer(Answer):
    """`messages` replaces the whole conversation, and can be sent to a chat model as it stands.

    It is the system messages word for word, one message of the user's with what `summary` holds,
    and the last turns. `summary` stands for the turns in `covered.summarized`: notes, word for
    word, and what the model wrote. `compressed_tokens` are those of all `messages`, at most
    `target_tokens`; `finish_reason` "unchanged": the conversation fitted as it was.
    """

    CONTENT: ClassVar = "messages"

    summary: str
    messages: list[dict[str, Any]]
    #: An older worker does not say it.
    covered: Covered | None = None
    original_tokens: int
    compressed_tokens: int
    tokens_saved: int

    @classmethod
    def is_content(cls, content: Any) -> bool:
        """Whether it is a list of messages."""
        return isinstance(content, list)

    @classmethod
    def text_in(cls, content: Any, *, indent: int | None = None) -> str:
        """All of the messages, each behind its role."""
        return transcript(content)


def _work(request: CompressRequest, ask: Steps) -> Mapping[str, object]:
    # Only a worker reads texts, and has what that takes.
    from local_llm_service.tasks.compression.compressor import compressed
    from local_llm_service.tasks.compression.talk import Talk

    talk = Talk(request.messages, request.keep, request.previous_summary)
    found = compressed(ask, talk, request.target_tokens, request.keep_last)
    places = set(range(len(request.messages)))
    return {
        "summary": found.summary,
        "messages": found.messages,
        "covered": {
            "summarized": sorted(places - set(found.verbatim)),
            "verbatim": found.verbatim,
        },
        "original_tokens": found.original_tokens,
        "compressed_tokens": found.tokens,
        "tokens_saved": max(0, found.original_tokens - found.tokens),
        "finish_reason": "unchanged" if found.is_unchanged else "stop",
    }


compress = register(
    Kind(
        name="compress",
        description="A conversation within a budget of tokens, with what matters word for word.",
        request=CompressRequest,
        answer=CompressAnswer,
        default_priority="normal",
        work=_work,
        template_version=3,
    )
)
