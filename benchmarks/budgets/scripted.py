"""300 inputs and five budgets on a scripted engine that has words and tokens of its own.

It cuts at the budget, loops, stops in the middle of a sentence, says nothing; its tokens are bytes
of some letters and parts of words of others, so that no rule of thumb holds.
"""

from __future__ import annotations

import random
import re
from typing import Any, cast

from benchmarks.budgets import texts
from benchmarks.budgets.judge import is_finished, verdicts
from benchmarks.chaos.judge import Measure
from local_llm_service.tasks import summarize
from local_llm_service.tasks.outcome import do_work
from local_llm_service.tasks.program_run import OneModelRun
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.tokens.book import TokenBook

BUDGETS = (20, 50, 100, 200, 400)
CONTEXT_TOKENS = 2048
INPUTS = 300
_LIMITS = Limits(
    max_prompt_chars=10**6, max_messages=10, max_schema_depth=10, max_output_tokens=1024
)
#: Up to four letters, a digit, a sign, white space; letters of other alphabets are one each.
TOKEN = re.compile(r"[A-Za-z]{1,4}|[^\S\n]+|.|\n")


class Model(EngineSteps):
    """One job's steps over a model that is a random number."""

    def __init__(self, seed: str) -> None:
        settings = Settings(max_output_tokens=1024, num_ctx=CONTEXT_TOKENS)
        super().__init__(cast(Engine, None), "m", settings, TokenBook())
        self._rng = random.Random(seed)
        self.read: list[str] = []

    @property
    def context_tokens(self) -> int:
        """See Steps."""
        return CONTEXT_TOKENS

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        sent = 9 + sum(len(TOKEN.findall(one["content"])) for one in prompt.messages)
        if sent > CONTEXT_TOKENS:
            raise ContextOverflow.of(ContextOverflow.REFUSED, sent, CONTEXT_TOKENS)
        if prompt.max_tokens > 1:
            self.read.append(prompt.messages[-1]["content"])
        found = TOKEN.findall(texts.said(self._rng))
        room = min(prompt.max_tokens, CONTEXT_TOKENS - sent)
        kept = "".join(found[:room])
        reason = "length" if len(found) > room else "stop"
        return Completion(kept, "m", cast(Any, reason), sent, min(room, len(found)), 0, 0, 0)

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps."""
        raise AssertionError("nobody wants vectors")


def run(*, short: bool = False) -> tuple[list[Measure], Any]:
    """The measures, and each job's verdict."""
    number = 12 if short else INPUTS
    records: list[dict[str, Any]] = []
    for place, text in enumerate(texts.texts(number, of_pages=0.4)):
        records += [_judged(place, text, tokens) for tokens in BUDGETS]
    return verdicts(records), records


def result_of(ask: Model, text: str, tokens: int) -> dict[str, Any] | Exception:
    """The answer that a worker would give, or the error."""
    call = {"context": text, "max_summary_tokens": tokens}
    request = parse(summarize.kind.request, (), call, _LIMITS)
    return do_work(cast(Any, summarize), request, OneModelRun(ask), queued_seconds=None).result


def _judged(place: int, text: str, tokens: int) -> dict[str, Any]:
    ask = Model(f"{place} {tokens}")
    found = result_of(ask, text, tokens)
    record: dict[str, Any] = {"input": place, "budget": tokens, "steps": ask.steps}
    if isinstance(found, dict):
        summary = found["summary"]
        record |= {name: found[name] for name in ("finish_reason", "summary_tokens", "coverage")}
        record["tokens"] = len(TOKEN.findall(summary))
        record["kept"] = max(record["tokens"], found["summary_tokens"]) <= tokens
        record["finished"] = is_finished(summary)
        return record
    return record | {"error": getattr(found, "code", type(found).__name__)}
