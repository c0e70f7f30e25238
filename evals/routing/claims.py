"""The table of what the first service claimed, beside what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evals.frame.bootstrap import Comparison, Interval, compare, rate
from evals.frame.eval_set import OURS, Score
from evals.frame.records import Record
from evals.frame.tables import Results, markdown, number
from evals.routing.route_set import (
    ALL_LOCAL,
    ALL_PAID,
    AT_HOME,
    CONTEXT,
    ESCALATED,
    LEDGER,
    LOST,
    RIGHT,
    TOKENS_LOST,
    USD,
    Order,
)

#: What the first service said of itself, without a way to check it.
CLAIMED_LOCAL, CLAIMED_CHEAPER = 0.60, 0.74
CLAIMED_CONTEXT = 1 - 100 / 1500
_SAID_CONTEXT = "1,500 tokens to 100 (93 % less)"


@dataclass(frozen=True)
class _Pairs:
    """Both sides' records of the queries that both answered."""

    ours: Sequence[Record]
    paid: Sequence[Record]

    @classmethod
    def of(cls, results: Results) -> _Pairs:
        ours, paid = [], []
        for item in results.items:
            one = results.by_place.get((item.key, item.group, OURS))
            other = results.by_place.get((item.key, item.group, ALL_PAID))
            if one and other and not one.outcome.failure and not other.outcome.failure:
                ours.append(one)
                paid.append(other)
        return cls(ours, paid)

    def compared(self, name: str) -> Comparison:
        """One measure of both."""
        return compare(
            [
                (one.outcome.scores[name], other.outcome.scores[name])
                for one, other in zip(self.ours, self.paid, strict=True)
            ]
        )


def claims_table(results: Results, order: Order) -> str:
    """Each claim beside what this log, this model and these prices gave."""
    pairs = _Pairs.of(results)
    if not pairs.ours:
        return "No query was answered yet."
    at_home = pairs.compared(AT_HOME.name).difference
    cheaper = _less(pairs.compared(USD.name).ratio)
    rows = [
        _row("queries answered locally", "60 %", CLAIMED_LOCAL, at_home),
        _row("cheaper than everything to the paid model", "74 %", CLAIMED_CHEAPER, cheaper),
        _context_row(pairs),
    ]
    return "\n".join(
        [
            "## What the first service claimed",
            "",
            markdown(["claim", "said", "measured here (95 %)", ""], rows),
            "",
            f"{len(pairs.ours)} distinct queries, at {order.price.prompt_usd} USD for a million "
            f"tokens read and {order.price.completion_usd} USD for a million written "
            f"({order.price_from}). The share "
            "that stays is what the router is told to let stay, so the first two say nothing "
            "without the answers' quality.",
            "",
            _details(pairs, results, order),
        ]
    )


def _row(what: str, said: str, claimed: float, found: Interval | None) -> list[str]:
    if found is None:
        return [what, said, "none", "not measured"]
    if found.low >= 1:
        verdict = "says nothing: all stayed"
    elif found.low >= claimed:
        verdict = "reached"
    elif found.high < claimed:
        verdict = "**not reproduced**"
    else:
        verdict = "not apart from it"
    return [what, said, _percent(found), verdict]


def _context_row(pairs: _Pairs) -> list[str]:
    """Of the queries with a context that went out."""
    what = "context less, where it goes out"
    sent = [one.outcome.scores[CONTEXT.name] for one in pairs.ours]
    sent = [one for one in sent if one.points]
    if not sent:
        return [what, _SAID_CONTEXT, "none went out", "not measured"]
    before, after = (
        sum(some) / len(sent) for some in zip(*((x.of, x.points) for x in sent), strict=True)
    )
    less = _less(compare([(one, Score(one.of, one.of)) for one in sent]).ratio)
    row = _row(what, _SAID_CONTEXT, CLAIMED_CONTEXT, less)
    row[2] += f": {before:,.0f} tokens to {after:,.0f}, of {len(sent)}"
    return row


def _details(pairs: _Pairs, results: Results, order: Order) -> str:
    """What else a bill and a clock say."""
    ours = [one.outcome for one in pairs.ours]
    again = sum(one.scores[ESCALATED.name].points for one in ours)
    lost = sum(one.scores[LOST.name].points for one in ours)
    usd, entered, tokens = (
        sum(one.scores[measure.name].points for one in ours)
        for measure in (USD, LEDGER, TOKENS_LOST)
    )
    all_usd = sum(one.outcome.scores[USD.name].points for one in pairs.paid)
    failures = Counter(one.outcome.failure for one in results.of_side(OURS) if one.outcome.failure)
    rows = [
        ["billed by the simulated paid model", f"{usd / 1000:.6f} USD of {all_usd / 1000:.6f}"],
        ["the same in the savings ledger", f"{entered / 1000:.6f} USD"],
        ["budget", order.budget],
        ["asked again of the paid model", f"{again:.0f} of {len(ours)}"],
        ["time of local tries that were not taken", f"{lost:.1f} s, {tokens:.0f} tokens"],
        ["failed", ", ".join(f"{code} {n}" for code, n in sorted(failures.items())) or "none"],
    ]
    reasons = Counter(one.text for one in ours)
    if (right := _right(results)) is not None:
        rows.insert(0, ["right, where the log says what is", right])
    chosen = [[reason, str(times)] for reason, times in reasons.most_common()]
    return "\n".join(
        [markdown(["", ""], rows), "", markdown(["why a model was chosen", "queries"], chosen), ""]
    )


def _right(results: Results) -> str | None:
    """How many answers hold what is expected, of the sides that are no simulation."""
    found = []
    for side in (OURS, ALL_LOCAL):
        scores = [
            one.outcome.scores.get(RIGHT.name, Score(0.0, 0.0)) for one in results.of_side(side)
        ]
        if sum(one.of for one in scores):
            found.append(f"{side} {number(rate(scores), '%')}")
    return ", ".join(found) or None


def _less(ratio: Interval | None) -> Interval | None:
    return None if ratio is None else Interval(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)


def _percent(one: Interval) -> str:
    return f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
