"""Facts kept at equal tokens: what `summaries` and `meetings` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evals.frame.eval_set import Item, Measure, Outcome, Side, Spent
from evals.frame.here import Here
from evals.frame.judge import kept, plain_words
from evals.frame.qmsum import MeetingQuestion

MEASURES = (Measure("facts kept", "facts that are in the summary, word for word"),)


@dataclass(frozen=True)
class Asked:
    """A text to summarize within so many tokens, and the facts that are in it."""

    text: str
    question: str | None
    facts: list[str]
    tokens: int


def possible(one: MeetingQuestion, text: str, tokens: int) -> Asked | None:
    """A question about a text, with the facts that are there; None where there are none."""
    words = plain_words(text)
    facts = [fact for fact in one.facts if plain_words(fact) in words]
    return Asked(text, one.question, facts, tokens) if facts else None


async def ours(here: Here, item: Item) -> Outcome:
    """Ask this service."""
    one: Asked = item.data
    question = {} if one.question is None else {"question": one.question}
    done = await here.ask("summarize", context=one.text, max_summary_tokens=one.tokens, **question)
    return _judged(item, done.answer.summary, done.spent)


async def _naive(here: Here, item: Item) -> Outcome:
    one: Asked = item.data
    wish = "" if one.question is None else f" so that it answers: {one.question}"
    reply = await here.plain.ask(f"Summarize this{wish}\n\n{one.text}", max_tokens=one.tokens)
    return _judged(item, reply.text, reply.spent)


async def _truncated(here: Here, item: Item) -> Outcome:
    """The first words, as many as have as many tokens: no generation."""
    one: Asked = item.data
    return _judged(item, await here.plain.first_words(one.text, one.tokens), Spent())


def _judged(item: Item, text: str, spent: Spent) -> Outcome:
    return Outcome({MEASURES[0].name: kept(text, item.data.facts)}, spent, text)


BASELINES: Mapping[str, Side] = {"one-line summary": _naive, "truncation": _truncated}
