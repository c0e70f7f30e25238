"""`summarize`: a text of any length, in whole sentences within a budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import register
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest, Text, Tokens
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.texts.budget import is_near, tokens_if_fits
from local_llm_service.tasks.texts.long_text import condensed_text
from local_llm_service.tasks.texts.summary_asked import LONGEST_QUESTION, summary_instructions


class SummarizeRequest(JobRequest):
    """`max_summary_tokens` bounds the summary; with a `question` it is what helps to answer it."""

    POSITIONAL: ClassVar = ("context", "max_summary_tokens", "model")

    context: Text
    max_summary_tokens: Tokens = 100
    question: Annotated[Text, Field(max_length=LONGEST_QUESTION)] | None = None


class SummarizeAnswer(Answer):
    """The counts are the model's own tokens; of a text that is `unchanged`, a bound of them where
    that shows by itself that it fits. `original_tokens` are those of `context` alone, of a text
    much longer than the budget by estimate.

    `coverage` is the share of the context that the model has read, 1 in every answer. `steps` is
    how many completions it took: none where the context itself kept the budget, `finish_reason`
    "unchanged". With "length" the model had more to say than the budget holds.
    """

    CONTENT: ClassVar = "summary"

    summary: str
    original_tokens: int
    summary_tokens: int
    tokens_saved: int
    #: An older worker does not say these two; it reads everything, in one step.
    coverage: float = 1.0
    steps: int = 1


def _work(request: SummarizeRequest, ask: Steps) -> Mapping[str, object]:
    context, tokens = request.context, request.max_summary_tokens
    may_fit = is_near(ask, context, tokens)
    if may_fit and (known := tokens_if_fits(ask, context, tokens)) is not None:
        return _fields(context, known, known, steps=0, finish_reason="unchanged")
    written = condensed_text(ask, context, summary_instructions(request.question), tokens)
    original = ask.count(context) if may_fit else written.read_tokens
    finish_reason = "length" if written.is_cut else "stop"
    return _fields(
        written.text, written.tokens, original, steps=ask.steps, finish_reason=finish_reason
    )


def _fields(
    summary: str, summary_tokens: int, original_tokens: int, *, steps: int, finish_reason: str
) -> Mapping[str, object]:
    return {
        "summary": summary,
        "original_tokens": original_tokens,
        "summary_tokens": summary_tokens,
        "tokens_saved": original_tokens - summary_tokens,
        "coverage": 1.0,  # a job that could not read all of it has failed
        "steps": steps,
        "finish_reason": finish_reason,
    }


summarize = register(
    Kind(
        name="summarize",
        description="A text of any length, in whole sentences within a budget of tokens.",
        request=SummarizeRequest,
        answer=SummarizeAnswer,
        default_priority="normal",
        work=_work,
        template_version=4,
        cut_is_answer=True,
    )
)
