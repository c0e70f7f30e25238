"""What a job's steps have cost together."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm_service.worker.prompt import Completion


@dataclass(slots=True)
class Spent:
    """Sums over completions and counts: tokens as the model server counts them, and seconds.

    `model` is the name that the server gave last, `finish_reason` that of the last completion.
    `answer_…` are the tokens that one call had needed for the answer: of the last step alone, and
    of its prompt without what was wrong with an earlier completion.
    """

    model: str = ""
    finish_reason: str = "stop"
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    generation_seconds: float = 0.0
    answer_prompt_tokens: int = 0
    answer_completion_tokens: int = 0

    def add_step(self, completion: Completion, *, asks_again: bool = False) -> None:
        """Note the completion of a step; `asks_again`: for what an earlier step was to bring."""
        self.steps += 1
        if not asks_again:
            self.answer_prompt_tokens = completion.prompt_tokens
        self.answer_completion_tokens = completion.completion_tokens
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

    def add(self, other: Spent) -> None:
        """Add another's sums."""
        self.steps += other.steps
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.load_seconds += other.load_seconds
        self.prompt_seconds += other.prompt_seconds
        self.generation_seconds += other.generation_seconds

    @property
    def seconds(self) -> float:
        """All the time that the engine took."""
        return self.load_seconds + self.prompt_seconds + self.generation_seconds
