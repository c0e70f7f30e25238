"""`summaries`: what helps to answer a question, kept of a part of a meeting, at equal tokens."""

from __future__ import annotations

from collections.abc import Iterator

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item
from evals.frame.facts_kept import BASELINES, MEASURES, ours, possible
from evals.frame.qmsum import LICENCE, SOURCE, meeting_questions

#: A part of a meeting fits into one prompt.
MOST_WORDS = 400
TOKENS = 100


def _items(data: Data) -> Iterator[Item]:
    for one in meeting_questions(data):
        if one.question is not None and (asked := possible(one, one.part(MOST_WORDS), TOKENS)):
            yield Item(one.key, asked, possible={MEASURES[0].name: len(asked.facts)})


SET = EvalSet(
    name="summaries",
    about=f"Parts of meetings, at most {MOST_WORDS} words, in `summarize` with a question, within "
    f"{TOKENS} tokens. Facts are the names, numbers and rare words of the gold answer that are "
    "also in the part, and not in the question.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("summarize",),
    measures=MEASURES,
    items=_items,
    ours=ours,
    baselines=BASELINES,
)
