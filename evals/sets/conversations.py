"""`conversations`: what a compressed conversation still holds, and what the model can use of it."""

from __future__ import annotations

from collections.abc import Iterator

from evals.frame.bfcl_memory import LICENCE, SOURCE, Conversation, conversations
from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import holds, recalled

BUDGETS = (100, 200, 400)
SURVIVAL, RECALL, LENGTH = "gold strings kept", "questions answered", "length"


def _items(data: Data) -> Iterator[Item]:
    for one in conversations(data):
        for tokens in BUDGETS:
            possible = dict.fromkeys((SURVIVAL, RECALL), float(len(one.questions)))
            yield Item(one.key, (one, tokens), f"{tokens} tokens", possible)


async def _ours(here: Here, item: Item) -> Outcome:
    one, tokens = item.data
    # What is asked about may stand anywhere: no turn is kept because it is the last.
    done = await here.ask("compress", messages=one.messages, target_tokens=tokens, keep_last=0)
    text = "\n\n".join(str(message["content"]) for message in done.answer.messages)
    return await _judged(here, one, text, done.spent)


async def _naive(here: Here, item: Item) -> Outcome:
    one, tokens = item.data
    reply = await here.plain.ask(
        f"Summarize this conversation in at most {tokens} tokens:\n\n{one.text}", max_tokens=tokens
    )
    return await _judged(here, one, reply.text, reply.spent)


async def _truncated(here: Here, item: Item) -> Outcome:
    """The newest words, as many as have as many tokens: no generation."""
    one, tokens = item.data
    return await _judged(here, one, await here.plain.last_words(one.text, tokens), Spent())


async def _judged(here: Here, one: Conversation, text: str, spent: Spent) -> Outcome:
    survived = sum(holds(text, gold) for _, gold in one.questions)
    scores = {
        SURVIVAL: Score(survived, len(one.questions)),
        RECALL: await recalled(here.plain, text, one.questions),
        LENGTH: Score(float(await here.plain.count(text))),
    }
    return Outcome(scores, spent, text)


SET = EvalSet(
    name="conversations",
    about="Conversations in `compress`, at equal budgets of tokens. An item is a conversation.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("compress",),
    measures=(
        Measure(SURVIVAL, "questions of which a gold string is in the compressed text"),
        Measure(
            RECALL,
            "questions of which a gold string is kept, and which the same model answers with one, "
            "given the compressed text alone: a string that is kept is not yet a fact of use",
        ),
        Measure(LENGTH, "of the compressed text, counted by the model server", "tokens", "less"),
    ),
    items=_items,
    ours=_ours,
    version=2,
    baselines={"one-line summary": _naive, "truncation": _truncated},
)
