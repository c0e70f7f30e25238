"""`budget`: summaries that were asked for so many tokens: within them, and with a last sentence."""

from __future__ import annotations

from collections.abc import Iterator

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import is_finished
from evals.frame.qmsum import LICENCE, SOURCE, meeting_questions

BUDGETS = (20, 50, 100, 200, 400)
#: What an unbounded answer may have at most, so that a model that never ends does not hold a run.
UNBOUNDED_TOKENS = 600
#: A part of a meeting, small enough for many questions on a machine without a GPU.
MOST_WORDS = 250
BOTH, WITHIN, FINISHED = "within budget and finished", "within budget", "finished"


def _items(data: Data) -> Iterator[Item]:
    for one in meeting_questions(data):
        if one.question is None:
            continue
        for tokens in BUDGETS:
            yield Item(one.key, (one.part(MOST_WORDS), tokens), f"{tokens} tokens")


async def _ours(here: Here, item: Item) -> Outcome:
    text, tokens = item.data
    done = await here.ask("summarize", context=text, max_summary_tokens=tokens)
    # A text that fits is returned as it is, and so ends as the caller's did.
    unchanged = done.answer.finish_reason == "unchanged"
    return await _judged(here, done.answer.summary, tokens, done.spent, unchanged)


async def _told(here: Here, item: Item) -> Outcome:
    text, tokens = item.data
    reply = await here.plain.ask(_prompt(text, tokens), max_tokens=UNBOUNDED_TOKENS)
    return await _judged(here, reply.text, tokens, reply.spent)


async def _told_and_cut(here: Here, item: Item) -> Outcome:
    text, tokens = item.data
    reply = await here.plain.ask(_prompt(text, tokens), max_tokens=tokens)
    return await _judged(here, reply.text, tokens, reply.spent)


def _prompt(text: str, tokens: int) -> str:
    return f"Summarize this in at most {tokens} tokens:\n\n{text}"


async def _judged(
    here: Here, text: str, tokens: int, spent: Spent, unchanged: bool = False
) -> Outcome:
    within = await here.plain.count(text) <= tokens
    finished = unchanged or is_finished(text)
    scores = {BOTH: within and finished, WITHIN: within, FINISHED: finished}
    return Outcome({name: Score(float(one)) for name, one in scores.items()}, spent, text)


SET = EvalSet(
    name="budget",
    about="Parts of meetings in `summarize`, with budgets of tokens; counted by the model server, "
    "not by this service.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("summarize",),
    measures=(
        Measure(BOTH, "answers that keep the budget and end with a sentence"),
        Measure(WITHIN, "answers of at most as many tokens as asked for"),
        Measure(FINISHED, "answers that end as a sentence ends, in any script"),
    ),
    items=_items,
    ours=_ours,
    baselines={"told the budget": _told, "told, and cut by num_predict": _told_and_cut},
    limit=100,
)
