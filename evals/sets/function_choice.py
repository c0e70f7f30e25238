"""`function_choice`: several functions of which one fits a message, or none."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from evals.frame.bfcl_functions import LICENCE, SOURCE, FunctionCall, calls
from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Side, Spent
from evals.frame.here import Here
from evals.frame.naive_functions import Called, by_format, by_tools

CHOSEN, EXACT = "right function", "exact call"
ONE_FITS, NONE_FITS = "one fits", "none fits"


def _items(data: Data) -> Iterator[Item]:
    for call in calls(data, "multiple"):
        yield Item(call.key, call, ONE_FITS)
    for call in calls(data, "irrelevance"):
        yield Item(call.key, call, NONE_FITS)


async def _ours(here: Here, item: Item) -> Outcome:
    call: FunctionCall = item.data
    done = await here.ask(
        "extract_parameters", user_message=call.message, function_schema=call.schemas
    )
    return _scored(call, done.answer.function, done.answer.parameters, done.spent)


def _naive(way: Callable[[Here, Sequence[dict[str, Any]], str], Awaitable[Called]]) -> Side:
    async def ask(here: Here, item: Item) -> Outcome:
        call: FunctionCall = item.data
        return _scored(call, *await way(here, call.schemas, call.message))

    return ask


def _scored(call: FunctionCall, name: Any, arguments: Any, spent: Spent) -> Outcome:
    scores = {
        CHOSEN: Score(float(name == call.name)),
        EXACT: Score(float(call.is_right(name, arguments))),
    }
    return Outcome(scores, spent, json.dumps([name, arguments]))


SET = EvalSet(
    name="function_choice",
    about="Two to four functions, of which one fits the message; and functions that do not fit.",
    source=f"{SOURCE}, multiple and irrelevance",
    licence=LICENCE,
    kinds=("extract_parameters",),
    measures=(
        Measure(CHOSEN, "messages with the right function, or rightly with none"),
        Measure(EXACT, "messages whose arguments are exactly right, too"),
    ),
    items=_items,
    ours=_ours,
    baselines={"format": _naive(by_format), "tools call": _naive(by_tools)},
    limit=100,
)
