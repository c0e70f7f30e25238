"""Compares what was sent with what the model server says it evaluated: nothing may be cut.

With `truncate: false` Ollama refuses a prompt that is too long. Other servers, old versions and
proxies cut it in silence, with HTTP 200: to exactly the window (0.24), to half of it, or by leaving
out the older messages (0.33, tests/wire/ctx_*_default.json).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from local_llm_service.tasks.steps.counts import TokenCounts
from local_llm_service.worker.errors import ContextOverflow, ModelFailed
from local_llm_service.worker.prompt import Completion, Prompt
from local_llm_service.worker.tokens.counting import SYSTEM
from local_llm_service.worker.tokens.model_tokens import ModelTokens

logger = logging.getLogger(__name__)

#: A shorter prompt fits every window that models are run with.
SHORT_CHARACTERS = 1000
#: Less than this share of the tokens that were expected is suspicious.
_SUSPICIOUS = 0.55
#: A prompt that was expected to have this share of the window may have been longer than it.
_NEAR_THE_WINDOW = 0.75
#: llama.cpp rounds a window up to a multiple of this.
_WINDOW_STEP = 256
_CUT = "the model server read only a part of the prompt"
_CUT_HINT = (
    "Shorten the input, or raise the context of the model server: it, or a proxy before it, cuts "
    "prompts without a word."
)


class WholePrompt:
    """The check of one job's prompts."""

    def __init__(
        self, tokens: ModelTokens, counts: TokenCounts, evaluated: Callable[[str], int]
    ) -> None:
        self._tokens, self._counts, self._evaluated = tokens, counts, evaluated

    def check(self, prompt: Prompt, completion: Completion, context_tokens: int) -> None:
        """Raise ContextOverflow with both numbers if the model has not read all of a prompt.

        A suspicion is verified: a text of repeated characters has few tokens, and is whole.
        """
        read, written = completion.prompt_tokens, completion.completion_tokens
        window = -(-context_tokens // _WINDOW_STEP) * _WINDOW_STEP
        # 0.24 goes one token past its window.
        if read + written > window + 1 and max(read, self._read_of_longer(window)) <= window:
            raise ContextOverflow.of(
                "the answer ran past the end of the context window", read + written, context_tokens
            )
        expected = self._tokens.rates.expected_tokens(_texts_of(prompt))
        may_be_cut = max(expected, read) >= _NEAR_THE_WINDOW * context_tokens and self._cuts(window)
        if read == 0:  # some servers do not say what they remember of an earlier prompt
            if may_be_cut:
                raise ContextOverflow.about(_CUT, round(expected), context_tokens, _CUT_HINT)
        elif may_be_cut or read < _SUSPICIOUS * expected:
            self._verify(prompt, read, expected, context_tokens)

    def _verify(self, prompt: Prompt, read: int, expected: float, context_tokens: int) -> None:
        """Count the prompt in parts that no server cuts: shorter than what was read at once."""
        texts, most = _texts_of(prompt), max(1, min(read, context_tokens) // 2)
        counted = max(0, self._counts.overhead() - len(SYSTEM["content"])) if len(texts) > 1 else 0
        for text in texts:
            for count in self._counts.of_parts(text.strip(), most):
                counted += count - 1  # a cut through a token makes two of it
                if counted > read:
                    sent = max(counted, round(expected))
                    raise ContextOverflow.about(_CUT, sent, read, _CUT_HINT)

    def _cuts(self, window: int) -> bool:
        """Whether the server cuts a prompt that is longer than the window, in silence."""
        return 0 < self._read_of_longer(window) <= window

    def _read_of_longer(self, window: int) -> int:
        """How many tokens the server reads of a prompt that is longer; tried once."""
        tokens = self._tokens
        if tokens.read_of_longer is None:
            # Each number is a token at least.
            longer = " ".join(map(str, range(window + 1)))
            try:
                tokens.read_of_longer = self._evaluated(longer) or 1
            except (ContextOverflow, ModelFailed):  # the second: in words that nobody knows
                tokens.read_of_longer = 0
            if self._cuts(window):
                logger.warning(
                    "the model server cuts prompts that are longer than the context, without a "
                    "word: long prompts are counted in parts, which takes time"
                )
        return tokens.read_of_longer


def _texts_of(prompt: Prompt) -> list[str]:
    return [message["content"] for message in prompt.messages]
