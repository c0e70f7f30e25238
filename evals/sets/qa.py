"""`qa`: questions about texts that are longer than the context, as callers of RAG have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evals.frame.bfcl_memory import LICENCE, SCENARIOS, SOURCE, Conversation, conversations
from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import holds

#: Small, so that a text beyond it is asked in seconds, also on a machine without a GPU.
CONTEXT = 1024
SUMMARY_TOKENS = 200
ANSWER_TOKENS = 60
#: Conversations around the one that holds the answer, itself included: about three contexts.
AROUND = 2
RIGHT, HELD = "answers right", "gold string kept"


def _items(data: Data) -> Iterator[Item]:
    known = conversations(data)
    for scenario in SCENARIOS:
        some = [one for one in known if one.scenario == scenario]
        for place, one in enumerate(some):
            text = _around(some, place)
            for number, (question, gold) in enumerate(one.questions):
                yield Item(f"{one.key}-{number}", (text, question, gold))


def _around(some: Sequence[Conversation], place: int) -> str:
    start = max(0, min(place - AROUND // 2, len(some) - AROUND))
    return "\n\n".join(one.text for one in some[start : start + AROUND])


def _prompt(context: str, question: str) -> str:
    return f"{context}\n\nQuestion: {question}\nAnswer in a few words."


async def _ours(here: Here, item: Item) -> Outcome:
    text, question, gold = item.data
    short = await here.ask(
        "summarize", context=text, question=question, max_summary_tokens=SUMMARY_TOKENS
    )
    done = await here.ask(
        "generate",
        prompt=_prompt(short.answer.summary, question),
        max_tokens=ANSWER_TOKENS,
        temperature=0.0,
    )
    held = holds(short.answer.summary, gold)
    return _judged(done.answer.text, gold, held, short.spent + done.spent)


async def _whole(here: Here, item: Item) -> Outcome:
    """All of it: Ollama cuts what is too long, and says nothing."""
    text, question, gold = item.data
    reply = await here.plain.ask(_prompt(text, question), max_tokens=ANSWER_TOKENS)
    return _judged(reply.text, gold, None, reply.spent)


async def _truncated(here: Here, item: Item) -> Outcome:
    text, question, gold = item.data
    short = await here.plain.first_words(text, SUMMARY_TOKENS)
    reply = await here.plain.ask(_prompt(short, question), max_tokens=ANSWER_TOKENS)
    return _judged(reply.text, gold, holds(short, gold), reply.spent)


def _judged(answer: str, gold: Sequence[str], held: bool | None, spent: Spent) -> Outcome:
    scores = {RIGHT: Score(float(holds(answer, gold)))}
    scores[HELD] = Score(0.0, 0.0) if held is None else Score(float(held))
    return Outcome(scores, spent, answer)


SET = EvalSet(
    name="qa",
    about=f"Questions about texts of some three contexts of {CONTEXT} tokens: `summarize` with the "
    "question, then `generate`; beside one prompt with everything, and one with as many tokens of "
    "the text's beginning as the summary may have.",
    source=SOURCE,
    licence=LICENCE,
    kinds=("summarize", "generate"),
    measures=(
        Measure(RIGHT, "answers that hold a gold string"),
        Measure(HELD, "texts given to the model that hold a gold string"),
    ),
    items=_items,
    ours=_ours,
    baselines={"everything in one prompt": _whole, "truncation": _truncated},
    worker={"NUM_CTX": str(CONTEXT)},
)
