"""Prose within a budget of tokens: how many words to ask for, and what to keep of a cut text."""

from __future__ import annotations

import re

from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion

#: English prose has about 0.75 words per token; a little less leaves room to finish the sentence.
WORDS_PER_TOKEN = 0.65
# A full stop ends a sentence only before white space; 。 ends one anywhere.
_SENTENCE_END = re.compile(r"(?:[.!?][\"'”’)\]]*(?=\s|$))|[。！？][”’）」』]*")


def words_within(tokens: int) -> int:
    """The number of words to ask for so that the answer fits into `tokens`."""
    return max(3, int(tokens * WORDS_PER_TOKEN))


def whole_sentences(completion: Completion) -> str:
    """The text, or only its whole sentences if it was cut at the budget (`finish_reason` "length").

    Raises InvalidOutput if the text is empty or the budget holds no whole sentence.
    """
    text = completion.text.strip()
    if not text:
        raise InvalidOutput("the model wrote nothing")
    if completion.finish_reason == "stop":
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends:
        raise InvalidOutput(
            f"no whole sentence within {completion.completion_tokens} tokens",
            "Ask for more tokens, or use a larger model.",
        )
    return text[: ends[-1]]
