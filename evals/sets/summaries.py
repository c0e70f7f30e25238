"""`summaries`: facts of long meetings that a summary keeps, at equal tokens."""

from __future__ import annotations

from collections.abc import Iterator

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Spent
from evals.frame.here import Here
from evals.frame.judge import kept
from evals.frame.qmsum import LICENCE, SOURCE, meeting_questions

TOKENS = 200
FACTS = "facts kept"


def _items(data: Data) -> Iterator[Item]:
    for one in meeting_questions(data):
        group = "whole meeting" if one.question is None else "a question"
        yield Item(one.key, one, group, {FACTS: float(len(one.facts))})


async def _ours(here: Here, item: Item) -> Outcome:
    asked = {"question": item.data.question} if item.data.question else {}
    done = await here.ask("summarize", context=item.data.text, max_summary_tokens=TOKENS, **asked)
    return _judged(item, done.answer.summary, done.spent)


async def _naive(here: Here, item: Item) -> Outcome:
    one = item.data
    wish = f" so that it answers: {one.question}" if one.question else ""
    reply = await here.plain.ask(f"Summarize this{wish}\n\n{one.text}", max_tokens=TOKENS)
    return _judged(item, reply.text, reply.spent)


async def _truncated(here: Here, item: Item) -> Outcome:
    """The first words, as many as have as many tokens: no generation."""
    return _judged(item, await here.plain.first_words(item.data.text, TOKENS), Spent())


def _judged(item: Item, text: str, spent: Spent) -> Outcome:
    return Outcome({FACTS: kept(text, item.data.facts)}, spent, text)


SET = EvalSet(
    name="summaries",
    about=f"Meetings of about 9,000 words in `summarize`, within {TOKENS} tokens. Facts are the "
    "names, numbers and rare words of the gold answer that are also in its part of the meeting.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("summarize",),
    measures=(Measure(FACTS, "facts that are in the summary, word for word"),),
    items=_items,
    ours=_ours,
    baselines={"one-line summary": _naive, "truncation": _truncated},
)
