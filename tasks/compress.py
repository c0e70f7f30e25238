"""`compress`: a conversation as one message that can take its place."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.budget import whole_sentences, words_within
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import (
    JobRequest,
    Tokens,
    check_chars,
    check_unicode,
    limits_of,
)
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.one_step import one_step
from local_llm_service.worker.prompt import Completion, Prompt

INSTRUCTION = (
    "You compress conversations. Summarize the conversation that the user sends in at most {words} "
    "words, so that it can go on from your summary alone. Keep names, numbers, decisions, wishes "
    "and open questions. Write only the summary."
)
HEADING = "Summary of the conversation so far:\n"


class Turn(BaseModel):
    """One message of a conversation; other fields are accepted and dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str


def _conversation(turns: list[Turn], info: ValidationInfo) -> list[Turn]:
    limit = limits_of(info).max_messages
    if len(turns) > limit:
        raise ValueError(f"at most {limit} messages (MAX_MESSAGES), got {len(turns)}")
    if not any(turn.content.strip() for turn in turns[len(_leading_system(turns)) :]):
        raise ValueError("must hold at least one message that is not empty and not from the system")
    for turn in turns:
        check_unicode(turn.content)
    check_chars(sum(len(turn.content) for turn in turns), info)
    return turns


def _leading_system(turns: list[Turn]) -> list[Turn]:
    return list(takewhile(lambda turn: turn.role == "system", turns))


class CompressRequest(JobRequest):
    """`messages` oldest first, each `{"role", "content"}`; `target_tokens` bounds the summary."""

    POSITIONAL: ClassVar = ("messages", "target_tokens", "model")

    messages: Annotated[list[Turn], AfterValidator(_conversation)]
    target_tokens: Tokens = 200


class CompressAnswer(Answer):
    """`messages` replaces the whole conversation; its leading system messages stay word for word.

    The token counts are the model server's and never include those system messages.
    """

    CONTENT: ClassVar = "summary"

    summary: str
    messages: list[dict[str, str]]
    original_tokens: int
    compressed_tokens: int
    tokens_saved: int


def _prompt(request: CompressRequest, _: int) -> Prompt:
    turns = request.messages[len(_leading_system(request.messages)) :]
    instruction = INSTRUCTION.format(words=words_within(request.target_tokens))
    transcript = "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
    return Prompt(
        ({"role": "system", "content": instruction}, {"role": "user", "content": transcript}),
        request.target_tokens,
        SAMPLING["compress"],
    )


def _read(request: CompressRequest, completion: Completion) -> Mapping[str, object]:
    summary = whole_sentences(completion)
    # A single system message, as some chat templates accept no second one.
    head = [turn.content for turn in _leading_system(request.messages)]
    return {
        "summary": summary,
        "messages": [{"role": "system", "content": "\n\n".join([*head, HEADING + summary])}],
        "original_tokens": completion.prompt_tokens,
        "compressed_tokens": completion.completion_tokens,
        "tokens_saved": completion.prompt_tokens - completion.completion_tokens,
    }


compress = register(
    Kind(
        name="compress",
        description="A conversation as one message that can take its place.",
        request=CompressRequest,
        answer=CompressAnswer,
        default_priority="normal",
        work=one_step(_prompt, _read),
        template_version=2,
    )
)
