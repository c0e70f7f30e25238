"""`summarize`: a text in whole sentences within a budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.budget import whole_sentences, words_within
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, Tokens
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.one_step import one_step
from local_llm_service.worker.prompt import Completion, Prompt

INSTRUCTION = (
    "You summarize texts. Summarize the text that the user sends in at most {words} words, in "
    "complete sentences. Keep names, numbers and decisions. Write only the summary."
)


class SummarizeRequest(JobRequest):
    """`max_summary_tokens` bounds the summary."""

    POSITIONAL: ClassVar = ("context", "max_summary_tokens", "model")

    context: Text
    max_summary_tokens: Tokens = 100


class SummarizeAnswer(Answer):
    """The counts are the model server's; `original_tokens` counts the whole prompt."""

    CONTENT: ClassVar = "summary"

    summary: str
    original_tokens: int
    summary_tokens: int
    tokens_saved: int


def _prompt(request: SummarizeRequest, _: int) -> Prompt:
    instruction = INSTRUCTION.format(words=words_within(request.max_summary_tokens))
    return Prompt(
        (
            {"role": "system", "content": instruction},
            {"role": "user", "content": request.context},
        ),
        request.max_summary_tokens,
        SAMPLING["summarize"],
    )


def _read(_: SummarizeRequest, completion: Completion) -> Mapping[str, object]:
    return {
        "summary": whole_sentences(completion),
        "original_tokens": completion.prompt_tokens,
        "summary_tokens": completion.completion_tokens,
        "tokens_saved": completion.prompt_tokens - completion.completion_tokens,
    }


summarize = register(
    Kind(
        name="summarize",
        description="A text in whole sentences within a budget of tokens.",
        request=SummarizeRequest,
        answer=SummarizeAnswer,
        default_priority="normal",
        work=one_step(_prompt, _read),
        template_version=2,
    )
)
