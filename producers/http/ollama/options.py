"""The `options` of a request to Ollama: which are done, which mean nothing here, which are refused.

An option that would change an Ollama's answer and cannot be done here is refused by its name. What
only changes how a server runs its model is the workers' business, and taken without effect, as is
what no Ollama knows: user interfaces send such options, and Ollama leaves them out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

#: Ollama's own value for a call that names none (its api/types.go).
DEFAULT_TEMPERATURE = 0.8
#: More than most models have tokens: no bound, as 0 means for Ollama.
ALL_TOKENS = 100_000


def whole(value: Any) -> Any:
    """A whole number, also where a client writes 16.0."""
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


Whole = Annotated[int, BeforeValidator(whole)]


def _only(neutral: float) -> AfterValidator:
    """Take an option at the value that changes nothing."""

    def check(value: float | None) -> float | None:
        if value is not None and value != neutral:
            raise ValueError(f"is not done here; leave it out, or at {json.dumps(neutral)}")
        return value

    return AfterValidator(check)


class Options(BaseModel):
    """Ollama's options. None is as good as left out.

    `num_predict` below 1 is no bound of the caller's, and MAX_OUTPUT_TOKENS holds. `seed` -1 is
    chance. `num_ctx` may ask for as much context as the workers run the model with, or less:
    nothing is ever cut. What follows `num_ctx` is how a server runs its model, and taken without
    effect.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    temperature: float | None = None
    top_p: float | None = None
    top_k: Whole | None = None
    min_p: float | None = None
    seed: Whole | None = None
    stop: list[str] | str | None = None
    num_predict: Whole | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    #: The service's own: see Body.
    keep_local: bool | None = None

    # Done at one value alone.
    repeat_last_n: Annotated[Whole | None, _only(64)] = None
    typical_p: Annotated[float | None, _only(1)] = None
    tfs_z: Annotated[float | None, _only(1)] = None
    mirostat: Annotated[Whole | None, _only(0)] = None
    penalize_newline: Annotated[bool | None, _only(True)] = None

    num_ctx: Annotated[Whole, Field(ge=1)] | None = None

    # Of `mirostat`; of a context that is cut; how the server runs the model.
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    num_keep: Whole | None = None
    num_batch: Whole | None = None
    num_gpu: Whole | None = None
    main_gpu: Whole | None = None
    num_thread: Whole | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    embedding_only: bool | None = None

    def arguments(self, most_tokens: int) -> dict[str, Any]:
        """The arguments of `chat` that say the same. `most_tokens`: the answer's default bound."""
        temperature, top_k = self.temperature, self.top_k
        is_bounded = self.num_predict is not None and self.num_predict > 0
        given = {
            "temperature": DEFAULT_TEMPERATURE if temperature is None else temperature,
            "top_p": self.top_p,
            "top_k": ALL_TOKENS if top_k is not None and top_k < 1 else top_k,
            "min_p": self.min_p,
            "seed": None if self.seed == -1 else self.seed,
            "stop": self.stop,
            "max_tokens": self.num_predict if is_bounded else most_tokens,
            "repeat_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
        }
        return {name: value for name, value in given.items() if value is not None}
