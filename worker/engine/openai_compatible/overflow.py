"""Reads out of a server's refusal how many tokens a prompt has, and how many there may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_llm_service.worker.engine.openai_compatible.said import Said
from local_llm_service.worker.errors import ContextOverflow

#: What marks the refusal of a prompt that is too long, in the words of OpenAI, vLLM, SGLang,
#: llama-server, LM Studio, and of Anthropic and Gemini behind LiteLLM.
_REFUSAL = re.compile(
    r"context_length_exceeded|exceed_context_size_error|ContextWindowExceeded"
    r"|maximum context length|longer than the maximum model length"
    r"|longer than the model's context length|exceeds the available context size"
    r"|exceed(?:s|ed)? the configured limit|context the overflows|context length of only"
    r"|[Cc]ontext size has been exceeded|prompt is too long: \d|exceed context limit"
    r"|is too large to process|exceeds the maximum number of tokens|input length exceeds"
    r"|exceeds the maximum allowed length|greater than the context length"
    r"|max_tokens must be at least 1, got -|cannot be greater than max_model_len"
)

#: Numbers by their words, the more telling ones first. `tokens` are the prompt's own, `room` is the
#: whole context, `all` is prompt and answer together.
_NUMBERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"context length is (?P<room>\d+) tokens.*?requested (?P<all>\d+) tokens "
        r"\((?P<tokens>\d+) in the messages",
        r"context length is (?P<room>\d+) tokens.*?contains at least (?P<tokens>\d+) input tokens",
        r"context length is (?P<room>\d+) tokens.*?has (?P<tokens>\d+) input tokens",
        r"context length of (?P<room>\d+) tokens.*?total of (?P<all>\d+) tokens: "
        r"(?P<tokens>\d+) tokens from",
        r"context length is (?P<room>\d+) tokens.*?resulted in (?P<tokens>\d+) tokens",
        r"configured limit of (?P<room>\d+) tokens.*?resulted in (?P<tokens>\d+) tokens",
        r"[Ii]nput length \((?P<tokens>\d+)(?: tokens)?\) exceeds.*?\((?P<room>\d+)",
        r"input \((?P<tokens>\d+) tokens\) is longer than .*?\((?P<room>\d+) tokens\)",
        r"prompt \(length (?P<tokens>\d+)\) is longer than .*? length of (?P<room>\d+)",
        r"request \((?P<tokens>\d+) tokens\) exceeds .*?\((?P<room>\d+) tokens\)",
        r"keep the first (?P<tokens>\d+) tokens .*?context length of only (?P<room>\d+) tokens",
        r"prompt is too long: (?P<tokens>\d+) tokens > (?P<room>\d+)",
        r"context limit: (?P<tokens>\d+) \+ \d+ > (?P<room>\d+)",
        r"token count \((?P<tokens>\d+)\) exceeds .*? allowed \((?P<room>\d+)\)",
        r"input \((?P<tokens>\d+) tokens\) is too large .*?batch size: (?P<room>\d+)",
        r"cannot be greater than max_model_len=(?:max_total_tokens=)?(?P<room>\d+)",
        r"context length is (?P<room>\d+) tokens",
    )
)


@dataclass(frozen=True, slots=True)
class Overflow:
    """A prompt that was refused for its length; None where the server does not say."""

    tokens: int | None = None
    room: int | None = None

    @classmethod
    def of(cls, said: Said) -> Overflow | None:
        """The overflow that an error is about; None for any other error."""
        if not _REFUSAL.search(said.all):
            return None
        if said.tokens is not None and said.room is not None:
            return cls(said.tokens, said.room)
        for pattern in _NUMBERS:
            if found := pattern.search(said.words):
                numbers = found.groupdict()
                return cls(_number(numbers.get("tokens")), _number(numbers.get("room")))
        return cls()

    def room_for_answer(self, asked: int) -> int:
        """A shorter answer than the one of `asked` tokens that may fit; 0 where none does.

        Of an answer that is longer than all of the context, the server says no size of the prompt
        yet; to the next request it does.
        """
        if self.room is None:
            return 0
        left = self.room - (1 if self.tokens is None else self.tokens)
        return left if 0 < left < asked else 0

    @property
    def error(self) -> ContextOverflow:
        """The error of a prompt that does not fit, with both numbers where they are known."""
        if self.tokens is None or self.room is None or self.tokens <= self.room:
            return ContextOverflow(ContextOverflow.REFUSED, _HINT)
        return ContextOverflow.of(ContextOverflow.REFUSED, self.tokens, self.room, _HINT)


_HINT = "Shorten the input, or ask a model with a larger context."


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
