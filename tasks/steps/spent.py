"""What a job's steps have cost together."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm_service.worker.prompt import Completion


@dataclass(slots=True)
class Spent:
    """Sums over completions and counts: tokens as the model server counts them, and seconds.

    `model` is the name that the server gave last, `finish_reason` that of the last completion.
    """

    model: str = ""
    finish_reason: str = "stop"
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    generation_seconds: float = 0.0

    def add_step(self, completion: Completion) -> None:
        """Note the completion of a step."""
        self.steps += 1
        self.finish_reason = completion.finish_reason
        self.add_cost(completion)

    def add_cost(self, completion: Completion) -> None:
        """Note what was asked for the sake of its numbers alone."""
        self.model = completion.model or self.model
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.load_seconds += completion.load_seconds
        self.prompt_seconds += completion.prompt_seconds
        self.generation_seconds += completion.generation_seconds

    @property
    def seconds(self) -> float:
        """All the time that the engine took."""
        return self.load_seconds + self.prompt_seconds + self.generation_seconds
