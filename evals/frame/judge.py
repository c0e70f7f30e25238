"""Rules that judge texts. No model gives marks: at most it answers from a text, for a rule."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from evals.frame.eval_set import Score, Spent
from evals.frame.plain_ollama import PlainOllama

#: A recalled answer is a few words.
RECALL_TOKENS = 40
_NOT_WORD = re.compile(r"[^\w]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
#: A capitalized word that does not begin a sentence.
_NAME = re.compile(r"(?<=[a-z0-9,;’'\"”) ] )[A-Z][a-zA-Z-]{2,}")
#: What may stand after the mark that ends a sentence.
_CLOSERS = "\"'”’»)]}*_`"
_ENDS = ".!?…。！？｡।॥؟۔።։"


def plain_words(text: str) -> str:
    """A text as its words in lower case, with one space around each."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return f" {_NOT_WORD.sub(' ', folded).strip()} "


def holds(text: str, gold: Iterable[str]) -> bool:
    """Whether one of the gold strings is in a text, word for word."""
    words = plain_words(text)
    return any(plain_words(one) in words for one in gold)


def kept(text: str, facts: Iterable[str]) -> Score:
    """How many of the facts are in a text, word for word."""
    found = [plain_words(fact) in plain_words(text) for fact in facts]
    return Score(sum(found), len(found))


def names_and_numbers(text: str) -> list[str]:
    """Capitalized words within sentences, and numbers; each once, in order."""
    return list(dict.fromkeys([*_NAME.findall(text), *_NUMBER.findall(text)]))


def rare_words(text: str, within: str, most: int = 3, letters: int = 6) -> list[str]:
    """The longer words of a text that another one has too, but at most so often."""
    around = plain_words(within)
    return [
        word
        for word in dict.fromkeys(plain_words(text).split())
        if len(word) >= letters and 0 < around.count(f" {word} ") <= most
    ]


def is_finished(text: str) -> bool:
    """Whether a text ends as a sentence does, in any script; code and lists count as unfinished."""
    return text.rstrip().rstrip(_CLOSERS).endswith(tuple(_ENDS))


async def recalled(
    plain: PlainOllama, text: str, questions: Iterable[tuple[str, list[str]]]
) -> Score:
    """How many questions the same model answers from the text alone, with a gold string.

    It is asked only what the text holds: a right answer to anything else is a lucky guess.
    """
    answers = [
        holds(text, gold) and holds((await recall(plain, text, question))[0], gold)
        for question, gold in questions
    ]
    return Score(sum(answers), len(answers))


async def recall(plain: PlainOllama, text: str, question: str) -> tuple[str, Spent]:
    """What the model answers from the text alone. The same prompt for every side."""
    reply = await plain.ask(
        f"Notes:\n{text}\n\nQuestion: {question}\nAnswer from the notes, in a few words.",
        max_tokens=RECALL_TOKENS,
    )
    return reply.text, reply.spent
