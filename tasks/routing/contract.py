"""What an answer has to be, so that a cascade takes it; an error says for itself what it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.refusals import is_refusal
from local_llm_service.tasks.routing.repetition import ends_in_a_loop
from local_llm_service.worker.prompt import Completion, Prompt


def flaw_of(
    fields: Mapping[str, object],
    prompt: Prompt,
    completion: Completion,
    min_mean_logprob: float | None = None,
) -> str:
    """Why an answer is not taken, as a reason; empty where it keeps its contract.

    `fields` are the answer's own, `prompt` and `completion` its last step. An answer of calls, or
    of JSON that keeps its schema, is not looked at for words. Without probabilities of its tokens
    a model counts as sure.
    """
    if _is_cut(fields, prompt, completion):
        return reasons.CUT
    if prompt.schema is None and not completion.tool_calls:
        if not completion.text.strip():
            return reasons.EMPTY
        if is_refusal(completion.text):
            return reasons.REFUSED
        if ends_in_a_loop(completion.text):
            return reasons.REPEATED
    if min_mean_logprob is not None:
        mean = mean_logprob(completion.logprobs)
        if mean is not None and mean < min_mean_logprob:
            return reasons.UNSURE
    return ""


def mean_logprob(tokens: tuple[Mapping[str, Any], ...]) -> float | None:
    """The mean log-probability of an answer's tokens; None where nobody says it."""
    said = [token.get("logprob") for token in tokens]
    numbers = [one for one in said if isinstance(one, int | float)]
    return sum(numbers) / len(numbers) if numbers else None


def _is_cut(fields: Mapping[str, object], prompt: Prompt, completion: Completion) -> bool:
    """Cut earlier than the caller said; or made short, after a completion that was cut.

    Text that ends at the caller's own budget is what was asked for, and so is JSON that may be cut.
    """
    if fields.get("finish_reason") == "length":
        return True
    return completion.finish_reason == "length" and (
        0 < completion.completion_tokens < prompt.max_tokens
    )
