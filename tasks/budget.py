"""Prose within a budget of tokens: how to ask for it, and what to keep when the model overruns."""

from __future__ import annotations

import re

from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion

#: English prose has about 0.75 words a token; a little less leaves room to finish the sentence.
WORDS_PER_TOKEN = 0.65
# A full stop ends a sentence where white space follows; 。 does anywhere.
_SENTENCE_END = re.compile(r"(?:[.!?][\"'”’)\]]*(?=\s|$))|[。！？][”’）」』]*")


def words_within(tokens: int) -> int:
    """How many words to ask for so that the answer fits into `tokens`."""
    return max(3, int(tokens * WORDS_PER_TOKEN))


def whole_sentences(completion: Completion) -> str:
    """The text; where it was cut at the budget (`finish_reason` "length"), its whole sentences.

    Raises InvalidOutput when nothing, or not one whole sentence, fits into the budget.
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
