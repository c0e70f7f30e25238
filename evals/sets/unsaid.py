"""`unsaid`: messages out of which one required value was cut."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from evals.frame.bfcl_functions import LICENCE, SOURCE, FunctionCall, calls
from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Side
from evals.frame.here import Here
from evals.frame.naive_functions import Called, by_format, by_tools

NAMED, NOT_INVENTED = "named as missing", "not invented"


def _items(data: Data) -> Iterator[Item]:
    for call in calls(data, "simple_python"):
        if cut := cut_out(call):
            yield Item(call.key, cut)


def cut_out(call: FunctionCall) -> tuple[FunctionCall, str] | None:
    """The call with its message less one value, and the name of that value's parameter.

    It is the last required one of which an accepted number or text stands in the message exactly
    once, as whole words; None: there is none.
    """
    for name in reversed(call.own["parameters"].get("required", [])):
        for value in call.accepted.get(name, ()):
            if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
                continue
            found = list(re.finditer(rf"(?<!\w){re.escape(str(value))}(?!\w)", call.message, re.I))
            if len(found) == 1:
                rest = call.message[: found[0].start()] + call.message[found[0].end() :]
                return replace(call, message=" ".join(rest.split())), name
    return None


async def _ours(here: Here, item: Item) -> Outcome:
    call, name = item.data
    done = await here.ask(
        "extract_parameters", user_message=call.message, function_schema=call.schemas[0]
    )
    found = done.answer
    scores = {
        NAMED: Score(float(name in found.missing)),
        NOT_INVENTED: Score(float(name not in found.parameters)),
    }
    return Outcome(scores, done.spent, json.dumps([found.missing, found.parameters]))


def _naive(way: Callable[[Here, Sequence[dict[str, Any]], str], Awaitable[Called]]) -> Side:
    async def ask(here: Here, item: Item) -> Outcome:
        call, name = item.data
        _, arguments, spent = await way(here, call.schemas, call.message)
        given = arguments.get(name) if isinstance(arguments, dict) else None
        scores = {NAMED: Score(0.0, 0.0), NOT_INVENTED: Score(float(given is None))}
        return Outcome(scores, spent, json.dumps(arguments))

    return ask


SET = EvalSet(
    name="unsaid",
    about="Messages of the set `functions` out of which one required value was cut. The naive ways "
    "have no word for what is missing; an answer that cannot be read invents nothing.",
    source=f"{SOURCE}, simple, cut",
    licence=LICENCE,
    kinds=("extract_parameters",),
    measures=(
        Measure(NOT_INVENTED, "messages without a value for the parameter that they do not give"),
        Measure(NAMED, "messages whose missing parameter is named"),
    ),
    items=_items,
    ours=_ours,
    baselines={"format": _naive(by_format), "tools call": _naive(by_tools)},
    limit=100,
)
