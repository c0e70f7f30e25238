"""`meetings`: what is kept of whole meetings, which exceed a context, at equal tokens."""

from __future__ import annotations

from collections.abc import Iterator

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item
from evals.frame.facts_kept import BASELINES, MEASURES, ours, possible
from evals.frame.qmsum import LICENCE, SOURCE, meeting_questions

TOKENS = 200


def _items(data: Data) -> Iterator[Item]:
    for one in meeting_questions(data):
        if asked := possible(one, one.text, TOKENS):
            group = "whole meeting" if one.question is None else "a question"
            yield Item(one.key, asked, group, {MEASURES[0].name: len(asked.facts)})


SET = EvalSet(
    name="meetings",
    about=f"Meetings of about 9,000 words in `summarize`, within {TOKENS} tokens. Facts are the "
    "names, numbers and rare words of the gold answer that are also in its part of the meeting.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("summarize",),
    measures=MEASURES,
    items=_items,
    ours=ours,
    baselines=BASELINES,
)
