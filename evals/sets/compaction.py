"""`compaction`: rules, facts and updates that survive `compress`, by compaction-conformance-kit.

The kit's budgets are characters of its transcript, ours are tokens. So the first try takes the same
share of the transcript's tokens, and each further one corrects it by what the answer has in
characters; the longest answer that keeps the kit's budget counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here

BUDGETS = (0.10, 0.20, 0.30)
SEEDS = range(1, 5)
#: Calls for one budget. An answer that fills it so far is not asked for again.
MOST_TRIES, FULL = 4, 0.96
SURVIVAL, RESOLVED, STALE = "statements that survive", "updates resolved", "stale values"


@dataclass(frozen=True)
class Session:
    """A conversation of the kit; `conflicts` are the ids of those canaries that were updated."""

    messages: list[dict[str, str]]
    canaries: Sequence[Any]
    conflicts: frozenset[str]
    probe: Any
    checklist: Any
    turns: Sequence[Any]

    @property
    def text(self) -> str:
        """The transcript, as the kit measures it."""
        return "\n".join(f"[{one['role']}] {one['content']}" for one in self.messages)


def _items(data: Data) -> Iterator[Item]:
    for key, session in _sessions(data):
        updated = {SURVIVAL: len(session.canaries), RESOLVED: len(session.conflicts)}
        possible = {name: float(most) for name, most in updated.items()}
        for share in BUDGETS:
            yield Item(key, (session, share), f"{share:.0%}", possible | {STALE: 1.0})


def _sessions(data: Data) -> Iterator[tuple[str, Session]]:
    name, distribution = "compaction_kit", "compaction-conformance-kit"
    corpus = data.module(f"{name}.corpus", distribution)
    semantic = data.module(f"{name}.semantic_corpus", distribution)
    probes = data.module(f"{name}.probes", distribution)
    compactors = data.module(f"{name}.semantic", distribution)

    def session(built: Any, canaries: Any, conflicts: Any) -> Session:
        turns = built.transcript()
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        checklist = compactors.SemanticChecklistCompactor()
        probe = probes.BehaviorProbe()
        return Session(messages, canaries, frozenset(conflicts), probe, checklist, turns)

    for seed in SEEDS:
        built, canaries = corpus.build_random_session(seed)
        updated = [one.id for one in canaries if one.superseded_tokens]
        yield f"restated-{seed}", session(built, canaries, updated)
        for key, build in (
            ("reworded", semantic.build_semantic_session),
            ("held-out", semantic.build_semantic_heldout_session),
        ):
            built, canaries, meta = build(seed)
            yield f"{key}-{seed}", session(built, canaries, meta["conflicts"])


async def _ours(here: Here, item: Item) -> Outcome:
    session, share = item.data
    most = int(len(session.text) * share)
    target = int(await here.plain.count(session.text) * share)
    best, spent = "", Spent()
    for _ in range(MOST_TRIES):
        done = await here.ask(
            "compress", messages=session.messages, target_tokens=target, keep_last=0
        )
        spent += done.spent
        text = "\n".join(str(one["content"]) for one in done.answer.messages)
        if len(text) <= most:
            best = max(best, text, key=len)
        if FULL * most <= len(text) <= most:
            break
        target = int(target * most / len(text) * 0.985)
    return _judged(session, best, spent)


async def _naive(here: Here, item: Item) -> Outcome:
    session, share = item.data
    most = int(len(session.text) * share)
    reply = await here.plain.ask(
        f"Summarize this conversation in at most {most} characters:\n\n{session.text}",
        max_tokens=int(await here.plain.count(session.text) * share),
    )
    return _judged(session, reply.text[:most], reply.spent)


async def _checklist(here: Here, item: Item) -> Outcome:
    """The best one that the kit brings; it knows the kit's own words for rules and updates."""
    session, share = item.data
    most = int(len(session.text) * share)
    found = session.checklist.compact(session.turns, budget_chars=most)
    return _judged(session, found.text, Spent())


def _judged(session: Session, text: str, spent: Spent) -> Outcome:
    low = text.casefold()
    survived = {one.id: session.probe.probe(one, text).survived for one in session.canaries}
    stale = {
        one.id
        for one in session.canaries
        if any(old.casefold() in low for old in one.superseded_tokens)
    }
    resolved = sum(survived[name] and name not in stale for name in session.conflicts)
    scores = {
        SURVIVAL: Score(sum(survived.values()), len(session.canaries)),
        RESOLVED: Score(resolved, len(session.conflicts)),
        STALE: Score(len(stale)),
    }
    return Outcome(scores, spent, text)


SET = EvalSet(
    name="compaction",
    about="Conversations of compaction-conformance-kit 0.8 in `compress`, within 10, 20 and "
    "30 % of their characters.",
    source="https://pypi.org/project/compaction-conformance-kit",
    licence="MIT",
    kinds=("compress",),
    measures=(
        Measure(SURVIVAL, "planted statements that are still there, by the kit's own probes"),
        Measure(RESOLVED, "updated statements of which the new value alone is there"),
        Measure(STALE, "old values that are still there", unit="values", better="less"),
    ),
    items=_items,
    ours=_ours,
    baselines={"one-line summary": _naive, "the kit's best": _checklist},
)
