"""Texts within a budget of tokens: asked for, asked for again shorter, cut to whole sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from local_llm_service.tasks.sampling import unrepetitive
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.tasks.texts.sentences import finished, parsed, sentences, whole_sentences
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion, Prompt

#: English prose has about 0.75 words per token; a little less leaves room to finish the sentence.
WORDS_PER_TOKEN = 0.65
#: Of the words that would fill the budget, as many as the second and the third try ask for.
_SHORTER = (0.7, 0.45)
#: Counts of one text's tokens while it is cut to its budget.
_MOST_COUNTS = 4
#: A text that likely has so many times the tokens of a budget, and some, is not counted.
_FAR, _FEW_TOKENS = 3, 64
#: Characters of a sentence that is one too many when it comes again.
_LEAST_REPEATED = 12


@dataclass(frozen=True, slots=True)
class Written:
    """A text of whole sentences, and how many tokens it has at most.

    `read_tokens` is what the model read to write it. `is_cut`: it wrote more than the budget holds.
    """

    text: str
    tokens: int
    read_tokens: int = 0
    is_cut: bool = False


def words_within(tokens: int) -> int:
    """The number of words to ask for so that a text fits into `tokens`."""
    return max(3, int(tokens * WORDS_PER_TOKEN))


def tokens_if_fits(ask: Steps, text: str, tokens: int) -> int | None:
    """The text's tokens if they are at most `tokens`: a bound that shows it, else their count."""
    if (bound := ask.most_tokens(text)) <= tokens:
        return bound
    return counted if (counted := ask.count(text)) <= tokens else None


def is_near(ask: Steps, text: str, tokens: int) -> bool:
    """Whether a text may fit into a budget: one that is far too long need not be counted."""
    return ask.likely_tokens(text) <= _FAR * tokens + _FEW_TOKENS


def tokens_if_near(ask: Steps, text: str, tokens: int) -> int | None:
    """As `tokens_if_fits`; None also where nobody needs to count."""
    return tokens_if_fits(ask, text, tokens) if is_near(ask, text, tokens) else None


def first_sentences(ask: Steps, text: str, tokens: int) -> str:
    """What of a text's beginning likely fits, in whole sentences where there are any."""
    likely = max(1, ask.likely_tokens(text))
    begin = text.strip()[: max(1, len(text) * tokens // likely)]
    return whole_sentences(begin) or begin


def write_within(
    ask: Steps, prompt: Callable[[int, int], Prompt], tokens: int, *, shared: bool = False
) -> Written:
    """Let the model write whole sentences of at most `tokens` tokens.

    `prompt(words, max_tokens)` makes the prompt that asks for so many words. A completion that was
    cut is asked for again shorter, one that repeats itself or says nothing with another sampling,
    also where the engine stopped it, at most twice together; then it is cut to its whole sentences.
    Raises InvalidOutput if not one of them fits, and what a step raises.
    """
    words, is_varied = words_within(tokens), False
    texts: list[str] = []
    read_tokens, has_written = 0, False
    for share in (*_SHORTER, None):
        completion, is_stopped = _said(ask, _asked(prompt(words, tokens), is_varied), shared)
        read_tokens = read_tokens or completion.prompt_tokens
        has_written = has_written or bool(completion.text.strip())
        text, end = _kept(completion, is_stopped)
        texts.append(text)
        if (end is _End.LOOP or not (text or end is _End.CUT)) and not is_varied:
            is_varied = True
            continue
        fits = None if end is _End.CUT else tokens_if_fits(ask, text, tokens)
        if text and fits is not None:
            # So many were written; what shows it may be more. Some servers do not say it.
            if text == completion.text.strip() and completion.completion_tokens:
                fits = min(fits, completion.completion_tokens)
            return Written(text, fits, read_tokens)
        if share is None or (fewer := _fewer(words, completion, tokens, share)) == words:
            break
        words = fewer
    if not has_written:
        raise InvalidOutput("the model wrote nothing")
    return replace(_cut(ask, texts, tokens), read_tokens=read_tokens, is_cut=True)


class _End(Enum):
    """How a text came to its end: by itself, at its budget, or by saying the same again."""

    BY_ITSELF = auto()
    CUT = auto()
    LOOP = auto()


def _asked(prompt: Prompt, is_varied: bool) -> Prompt:
    return replace(prompt, sampling=unrepetitive(prompt.sampling)) if is_varied else prompt


def _said(ask: Steps, prompt: Prompt, shared: bool) -> tuple[Completion, bool]:
    """A completion; what there is of one, and True, where the engine has stopped a repetition."""
    try:
        return ask(prompt, shared=shared), False
    except InvalidOutput as error:
        return Completion(error.text, "", "length", 0, error.tokens, 0.0, 0.0, 0.0), True


def _kept(completion: Completion, is_stopped: bool) -> tuple[str, _End]:
    """The whole sentences of a completion, before the first that comes again."""
    said: set[str] = set()
    kept: list[str] = []
    for sentence in sentences(completion.text):
        words = " ".join(sentence.split()).casefold()
        if words in said and len(words) >= _LEAST_REPEATED:
            return whole_sentences("".join(kept)), _End.LOOP
        said.add(words)
        kept.append(sentence)
    if is_stopped:
        return whole_sentences(completion.text), _End.LOOP
    if completion.finish_reason == "stop":
        return finished(completion.text), _End.BY_ITSELF
    return whole_sentences(completion.text), _End.CUT


def _fewer(words: int, completion: Completion, tokens: int, share: float) -> int:
    """Words for the next try, by what a word of a cut one took. Never more than before."""
    fewer = words * share
    if completion.finish_reason == "length":
        per_token = len(completion.text.split()) / max(1, completion.completion_tokens)
        fewer = min(fewer, per_token * tokens * share)
    return max(3, int(fewer))


def _cut(ask: Steps, texts: list[str], tokens: int) -> Written:
    """The most that fits of the longest text that has a sentence within the budget."""
    for text in sorted(texts, key=len, reverse=True):
        if (written := _within(ask, text, tokens)) is not None:
            return written
    found = {one.text.strip() for text in texts for one in parsed(text) if one.is_finished}
    for sentence in sorted(found, key=ask.likely_tokens)[:_MOST_COUNTS]:
        if (counted := tokens_if_fits(ask, sentence, tokens)) is not None:
            return Written(sentence, counted)
    raise InvalidOutput(
        f"no whole sentence within {tokens} tokens", "Ask for more tokens, or use a larger model."
    )


def _within(ask: Steps, text: str, tokens: int) -> Written | None:
    """As many of a text's first sentences as fit, by few counts."""
    for _ in range(_MOST_COUNTS):
        if not text:
            return None
        if (bound := ask.most_tokens(text)) <= tokens:
            return Written(text, bound)
        if (counted := ask.count(text)) <= tokens:
            return Written(text, counted)
        text = _shortened(text, len(text) * tokens // counted)
    return None


def _shortened(text: str, chars: int) -> str:
    """The finished sentences within so many characters, at least one less than there were."""
    found = parsed(text)[:-1]
    while found and (sum(len(one.text) for one in found) > chars or not found[-1].is_finished):
        found.pop()
    return "".join(one.text for one in found).rstrip()
