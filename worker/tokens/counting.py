"""The request that counts: one token of answer to a text, whose prompt the model server counts.

`num_predict: 0` is no bound (tests/wire/chat_num_predict_0.json), so one token it is. A system
message is always sent: the template of some models adds one of its own where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from local_llm_service.worker.prompt import Message, Prompt

SYSTEM: Message = {"role": "system", "content": "Count."}
#: One token in every vocabulary, and beside white space in every text.
LETTER = "a"


def counting(text: str) -> Prompt:
    """The prompt by which a model server counts a text."""
    return Prompt((SYSTEM, Message(role="user", content=text)), 1, spoken=False)


def is_counting(messages: Sequence[Message], max_tokens: int) -> bool:
    """Whether a prompt only counts: doubles of model servers answer it without a script."""
    return max_tokens == 1 and len(messages) == 2 and dict(messages[0]) == dict(SYSTEM)
