"""The `options` of a request: Ollama's names, types and defaults, turned into llama.cpp's."""

import math
import os
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api.go_json import fits
from local_llm_service.worker.embedded.ollama_api.wire import ApiError

DEFAULT_CONTEXT_TOKENS = 4096
LEAST_CONTEXT_TOKENS = 4
CONTEXT_STEP_TOKENS = 256  # llama.cpp rounds a context up to it

_INTEGERS = ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n")
_RUNNER_INTEGERS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread")
_FLOATS = ("top_p", "min_p", "typical_p", "temperature")
_PENALTIES = ("repeat_penalty", "presence_penalty", "frequency_penalty")
# repeat_penalty: the texts at temperature 0 in tests/wire came from 1.0, not from the older 1.1.
_SAMPLING = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
}


@dataclass(frozen=True)
class RunnerProfile:
    """What a runner is started with. Another profile means another runner: a reload."""

    num_ctx: int
    shift: bool
    embeds: bool = False

    @property
    def slot_tokens(self) -> int:
        """The context that one slot of the runner really has, in tokens."""
        return -(-self.num_ctx // CONTEXT_STEP_TOKENS) * CONTEXT_STEP_TOKENS


@dataclass(frozen=True)
class Options:
    """Checked options. `sampling` goes to llama.cpp unchanged; `num_predict` -1 means no limit."""

    num_ctx: int
    num_keep: int
    num_predict: int
    stop: tuple[str, ...]
    sampling: dict[str, Any]


def parse_options(given: dict[str, Any]) -> Options:
    """Check the options and add defaults; ApiError 500, as in Ollama, for a wrong type.

    Unknown options are ignored, and so are num_batch, num_gpu, main_gpu, num_thread and use_mmap:
    EMBEDDED_THREADS decides about the runner's threads.
    """
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        _check_type(name, value)
    num_predict = int(values.get("num_predict", -1))
    return Options(
        num_ctx=_clamped_context(int(values.get("num_ctx", default_context_tokens()))),
        num_keep=int(values.get("num_keep", 4)),
        num_predict=num_predict if num_predict > 0 else -1,
        stop=tuple(values.get("stop", smollm2.STOP_SEQUENCES)),
        sampling={
            name: int(values.get(name, default)) if name in _INTEGERS else values.get(name, default)
            for name, default in _SAMPLING.items()
        },
    )


def default_context_tokens() -> int:
    """OLLAMA_CONTEXT_LENGTH, else Ollama's default on a small machine."""
    return int(os.environ.get("OLLAMA_CONTEXT_LENGTH") or DEFAULT_CONTEXT_TOKENS)


def _clamped_context(tokens: int) -> int:
    return min(max(tokens, LEAST_CONTEXT_TOKENS), smollm2.TRAINED_CONTEXT_TOKENS)


def _check_type(name: str, value: Any) -> None:
    wanted = None
    if name in _INTEGERS or name in _RUNNER_INTEGERS:
        wanted = None if _is_number(value) else "integer"
    elif name in _FLOATS or name in _PENALTIES:
        wanted = None if _is_number(value) else "float32"
    elif name == "use_mmap":
        wanted = None if isinstance(value, bool) else "boolean"
    elif name == "stop":
        if not isinstance(value, list):
            wanted = "array"
        elif not all(isinstance(one, str) for one in value):
            raise ApiError(500, f'option "{name}" must be of an array of strings')
    if wanted is not None:
        raise ApiError(500, f'option "{name}" must be of type {wanted}')


def _is_number(value: Any) -> bool:
    return fits(value, (int, float)) and math.isfinite(value)
