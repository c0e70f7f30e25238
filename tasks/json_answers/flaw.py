"""What is wrong with an answer: in words for the caller, and in words for the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from local_llm_service.tasks.json_schema import Breach
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import ToolCall

#: So much white space at the end is what had no end; no indented JSON has it.
_BLANK_CHARS = 30


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a completion is no answer.

    `message` is for the error and holds none of the model's words. `advice` is for the model alone
    and may name places in its own `text`.
    """

    message: str
    advice: str = field(repr=False)
    text: str = field(default="", repr=False)
    #: It stopped at its budget of tokens; or it was stopped, as it would have gone on for ever.
    is_cut: bool = False
    was_stopped: bool = False
    #: What the model called beside the text.
    calls: Sequence[ToolCall] = field(default=(), repr=False)

    @property
    def is_endless(self) -> bool:
        """Whether it had no end."""
        return self.is_cut or self.was_stopped

    @property
    def has_grown(self) -> bool:
        """Whether it had no end because of its values: white space between them is none."""
        return self.is_endless and bool(self.text) and not self.text[-_BLANK_CHARS:].isspace()

    @classmethod
    def of_breach(cls, breach: Breach, text: str, calls: Sequence[ToolCall] = ()) -> Flaw:
        """The JSON breaks its schema."""
        where = f'At "{breach.place}" it' if breach.place else "It"
        keyword = f' "{breach.keyword}"' if breach.keyword else ""
        demand = f" {breach.demand}" if breach.demand else ""
        advice = f"{where} breaks the schema's{keyword}{demand}."
        return cls(breach.message, advice, text, calls=calls)

    @classmethod
    def of_error(cls, error: InvalidOutput) -> Flaw:
        """The engine has stopped the model."""
        advice = f"It was stopped: {error.message}. Keep it short."
        return cls(error.message, advice, error.text, was_stopped=True)

    def error(self, hint: str | None = None) -> InvalidOutput:
        """The error, with what the model wrote for the job's dead letter."""
        error = InvalidOutput(self.message, hint)
        calls = [json.dumps(call, ensure_ascii=False) for call in self.calls]
        error.text = "\n".join([self.text, *calls] if self.text else calls)
        return error
