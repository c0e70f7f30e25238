"""The tables that need no model: what thresholds would send, and who chooses best on labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evals.frame.bootstrap import Interval
from evals.frame.tables import markdown
from evals.routing.log import Query
from evals.routing.paid_model import Billed, tokens_of
from evals.routing.policies import COSTS, Labelled, beside, difference, ways
from evals.routing.route_set import Order


def policy_tables(
    queries: Sequence[Query], scores: Mapping[str, Sequence[float]], order: Order
) -> str:
    """Accuracy at the same cost, on the queries with labels; `scores` by way, for those alone."""
    usd = [order.usd(Billed(_prompt_tokens(one), order.answer_tokens)) for one in queries]
    labelled = Labelled.of(queries, usd)
    remote_gain = difference(labelled.remote, labelled.local)
    found = ways(queries, scores)
    lengths = found["length alone"]
    rows = []
    for cost in COSTS:
        for name, some in found.items():
            one = beside(labelled, some, lengths, cost)
            to_length = "" if some is lengths else _signed(one.to_length)
            rows.append(
                [
                    *(f"{cost:.0%}", name, f"{one.sent:.0%}", f"{one.accuracy:.1%}"),
                    *(to_length, _signed(one.to_random)),
                ]
            )
    return "\n".join(
        [
            "## Who should answer, on labels",
            "",
            f"{len(queries)} labelled queries. Everything local: {labelled.local.mean():.1%} "
            f"right; everything to the paid model: {labelled.remote.mean():.1%} "
            f"({_signed(remote_gain)}). Between them, at parts of the cost of the latter:",
            "",
            markdown(["cost", "sent by", "sent", "right", "to length alone", "to chance"], rows),
            "",
            "An interval that holds 0 shows nothing.",
            "",
        ]
    )


def sent_table(scores: Sequence[float]) -> str:
    """What part of a log would be sent at once, for values of `complex_from`."""
    given = np.array(scores)
    rows = [
        [f"{bound:.1f}", f"{float((given >= bound).mean()):.0%}"]
        for bound in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    ]
    return "\n".join(
        [
            "## What `complex_from` would send at once",
            "",
            markdown(["from score", "queries sent"], rows),
            "",
        ]
    )


def _prompt_tokens(query: Query) -> int:
    return tokens_of(query.prompt) + tokens_of(query.context or "")


def _signed(one: Interval) -> str:
    return f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
