"""`needles`: one fact at the head, in the middle or at the tail of inputs of 0.5 to 8 contexts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from evals.frame.data import Data
from evals.frame.eval_set import EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import holds
from evals.frame.plain_ollama import Refused
from local_llm_service.worker.errors import ContextOverflow

#: Small, so that eight of them are read in seconds, also on a machine without a GPU.
CONTEXT = 512
SIZES = (0.5, 1.0, 2.0, 4.0, 8.0)
PLACES = {"head": 0.02, "middle": 0.5, "tail": 0.98}
SUMMARY_TOKENS = 100
#: Tokens that a sentence of the hay has, about.
SENTENCE_TOKENS = 14
READ, FOUND = "input read or refused", "needle found"
_BAD_REQUEST = 400
_WHO = ("The gardener", "My neighbour", "A teacher", "The old sailor", "One of the bakers")
_DID = ("walked along", "painted", "looked at", "talked about", "wrote a letter about")
_WHAT = ("the quiet harbour", "a wooden bridge", "the long winter", "an empty market", "two rivers")
_WHEN = ("in the morning", "before the rain", "after lunch", "late at night", "on a cold day")
QUESTION = "What is the secret number of the {thing}?"
_THINGS = ("lighthouse", "library", "museum", "orchard", "station", "theatre", "windmill")


def _items(_: Data) -> Iterator[Item]:
    for repeat, thing in enumerate(_THINGS):
        for size in SIZES:
            for place, share in PLACES.items():
                rng = random.Random(f"{repeat} {size} {place}")
                number = str(rng.randint(10_000, 99_999))
                needle = f"The secret number of the {thing} is {number}."
                text = _hay(rng, int(size * CONTEXT / SENTENCE_TOKENS), share, needle)
                key = f"{place}-{repeat}"
                data = (text, QUESTION.format(thing=thing), number)
                yield Item(key, data, f"{size:g} contexts")


def _hay(rng: random.Random, sentences: int, share: float, needle: str) -> str:
    hay = [
        f"{rng.choice(_WHO)} {rng.choice(_DID)} {rng.choice(_WHAT)} {rng.choice(_WHEN)}."
        for _ in range(sentences)
    ]
    hay.insert(int(share * len(hay)), needle)
    return "\n".join(" ".join(hay[start : start + 8]) for start in range(0, len(hay), 8))


async def _ours(here: Here, item: Item) -> Outcome:
    text, question, number = item.data
    try:
        done = await here.ask(
            "summarize", context=text, question=question, max_summary_tokens=SUMMARY_TOKENS
        )
    except ContextOverflow as error:
        return _refused(error.code)
    read = done.answer.coverage == 1.0
    return _judged(done.answer.summary, number, read, done.spent)


async def _naive(here: Here, item: Item) -> Outcome:
    """One prompt with everything. It was read if the server says that it evaluated so much."""
    text, question, number = item.data
    try:
        reply = await here.plain.ask(f"{text}\n\n{question}", max_tokens=SUMMARY_TOKENS)
    except Refused as error:
        if error.status != _BAD_REQUEST:
            raise
        return _refused(f"http_{error.status}")
    read = reply.spent.prompt_tokens >= await _tokens(here, text)
    return _judged(reply.text, number, read, reply.spent)


def _refused(failure: str) -> Outcome:
    """Nothing was lost in silence, and nothing found."""
    return Outcome({READ: Score(1.0), FOUND: Score(0.0)}, Spent(), failure=failure)


async def _tokens(here: Here, text: str) -> int:
    """A lower bound of a text's tokens, by a line of it: the whole may exceed the context."""
    line = text.splitlines()[0]
    return int(await here.plain.count(line) * len(text) / len(line) * 0.9)


def _judged(text: str, number: str, read: bool, spent: Spent) -> Outcome:
    scores = {READ: Score(float(read)), FOUND: Score(float(holds(text, [number])))}
    return Outcome(scores, spent, text)


SET = EvalSet(
    name="needles",
    about=f"One sentence with a number among others, in inputs of 0.5 to 8 contexts of {CONTEXT} "
    "tokens: `summarize` with the question, beside everything in one prompt.",
    source="made by this set, by a fixed seed",
    licence="that of this project",
    kinds=("summarize",),
    measures=(
        Measure(
            READ,
            "inputs that the model has read to the end (`coverage` 1.0; of the naive way by its "
            "count), or that were refused as longer than the context",
        ),
        Measure(FOUND, "answers that hold the number"),
    ),
    items=_items,
    ours=_ours,
    baselines={"everything in one prompt": _naive},
    version=2,
    worker={"NUM_CTX": str(CONTEXT)},
)
