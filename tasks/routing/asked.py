"""What a request asks for, as far as it counts for the choice of a model; of the kinds that may
leave the house."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from local_llm_service.tasks.request import JobRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """`question` is the user's last word, by which simple and complex are told; `texts` are all
    that the model has to read, without the context of a `generate`, which is shortened where it
    does not fit. `max_tokens`: of the answer, where the caller bounds it, else 0."""

    question: str = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)
    max_tokens: int = 0
    tools: bool = False
    logprobs: bool = False

    @classmethod
    def of(cls, request: JobRequest) -> Asked:
        """Read a request of `generate`, `chat` or `structured_output`."""
        own: Any = request  # the kinds' own classes import this room
        if hasattr(own, "messages"):
            texts = tuple(message.content for message in own.messages)
            said = (one.content for one in reversed(own.messages) if one.role == "user")
            return cls(
                next(said, texts[-1]),
                texts,
                own.max_tokens,
                tools=bool(own.offered_tools),
                logprobs=own.logprobs,
            )
        system = getattr(own, "system_prompt", None) or ""
        return cls(own.prompt, (system, own.prompt), getattr(own, "max_tokens", 0))

    @property
    def characters(self) -> int:
        """Of all texts."""
        return sum(map(len, self.texts))
