"""`functions`: one function and a message that gives its arguments."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from evals.frame.bfcl_functions import LICENCE, SOURCE, FunctionCall, calls
from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Side
from evals.frame.here import Here
from evals.frame.naive_functions import Called, by_format, by_tools, in_plain_json

EXACT = "exact arguments"


def _items(data: Data) -> Iterator[Item]:
    for call in calls(data, "simple_python"):
        yield Item(call.key, call)


async def _ours(here: Here, item: Item) -> Outcome:
    call: FunctionCall = item.data
    done = await here.ask(
        "extract_parameters", user_message=call.message, function_schema=call.schemas[0]
    )
    found = done.answer
    right = call.is_right(found.function, found.parameters)
    return Outcome({EXACT: Score(float(right))}, done.spent, json.dumps(found.parameters))


def _naive(way: Callable[[Here, Sequence[dict[str, Any]], str], Awaitable[Called]]) -> Side:
    async def ask(here: Here, item: Item) -> Outcome:
        call: FunctionCall = item.data
        name, arguments, spent = await way(here, call.schemas, call.message)
        right = call.is_right(name, arguments)
        return Outcome({EXACT: Score(float(right))}, spent, json.dumps(arguments))

    return ask


SET = EvalSet(
    name="functions",
    about="One function and a message. Arguments are right if all are exactly as accepted, by the "
    "leaderboard's own rules; the naive ways are Ollama's `format`, the model's own calls of "
    "tools, and JSON asked for in words.",
    source=f"{SOURCE}, simple",
    licence=LICENCE,
    kinds=("extract_parameters",),
    measures=(Measure(EXACT, "messages whose arguments are exactly right"),),
    items=_items,
    ours=_ours,
    baselines={
        "format": _naive(by_format),
        "tools call": _naive(by_tools),
        "plain JSON": _naive(in_plain_json),
    },
    limit=100,
)
