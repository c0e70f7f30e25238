"""The file of a fitted router, `ROUTER_FILE`: weights of buckets, and how it was judged.

It holds no word of any prompt. Numbers of buckets are no secret, however: who has the file can tell
whether a word that he thinks of may have been in the log, so keep it where the log may be.
"""

from __future__ import annotations

from math import exp, log1p, sqrt
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_llm_service.tasks.routing.hashed_words import BUCKETS, buckets
from local_llm_service.tasks.routing.structure import Structure, structure
from local_llm_service.worker.errors import InvalidSetting

#: What the numbers mean; another one after any change of structure.py or hashed_words.py.
FORMAT: Final = "local-llm-router/1"
#: The numbers that stand beside the buckets: what `seen` gives.
SEEN = 4
_MOST_BYTES = 4_000_000
_FIT_AGAIN = "Make it with `local-llm route fit`, of this version."

_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Estimate(_Part):
    """A number with the bounds of its 95 % interval."""

    value: _Number
    low: _Number
    high: _Number


class Judged(_Part):
    """How well the router tells simple from complex on prompts that it had not seen.

    `auc`: of the router; `length_auc`: of the number of characters alone; `difference`: the first
    less the second.
    """

    labels: int
    complex: int
    folds: int
    seed: int
    auc: Estimate
    length_auc: Estimate
    difference: Estimate

    @property
    def beats_length(self) -> bool:
        """Whether the interval of the difference lies above zero."""
        return self.difference.low > 0


class RouterFile(_Part):
    """A logistic regression over what `seen` gives, standardized, and over the buckets."""

    format: Literal["local-llm-router/1"] = FORMAT
    made: str
    judged: Judged
    complex_from: Annotated[float, Field(ge=0, le=1)]
    intercept: _Number
    means: Annotated[tuple[_Number, ...], Field(min_length=SEEN, max_length=SEEN)]
    scales: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Field(min_length=SEEN, max_length=SEEN)
    ]
    seen_weights: Annotated[tuple[_Number, ...], Field(min_length=SEEN, max_length=SEEN)]
    bucket_weights: Annotated[tuple[_Number, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]

    def score(self, prompt: str) -> float:
        """How likely a prompt is to be complex, 0 to 1, where both are equally frequent."""
        total = self.intercept
        for value, mean, scale, weight in zip(
            seen(structure(prompt)), self.means, self.scales, self.seen_weights, strict=True
        ):
            total += weight * (value - mean) / scale
        if found := buckets(prompt):
            weights = self.bucket_weights
            total += sum([weights[bucket] for bucket in found]) / sqrt(len(found))
        return 1 / (1 + exp(-max(-500.0, min(500.0, total))))


def seen(what: Structure) -> tuple[float, ...]:
    """What stands beside the buckets, as numbers of the same order."""
    return (
        log1p(what.characters),
        log1p(what.questions),
        log1p(what.steps),
        log1p(what.code_lines),
    )


def read_router(path: str) -> RouterFile:
    """Read a file. Raises InvalidSetting, also for one that is no better than length alone."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "is not a file name"
        raise InvalidSetting(f"setting ROUTER_FILE: {path}: {said}", _FIT_AGAIN) from None
    if len(text) > _MOST_BYTES:
        raise InvalidSetting(f"setting ROUTER_FILE: {path} is too large", _FIT_AGAIN)
    try:
        router = RouterFile.model_validate_json(text)
    except ValidationError as error:
        places = {".".join(map(str, one["loc"][:1])) or "JSON" for one in error.errors()}
        wrong = ", ".join(sorted(places))
    else:
        wrong = ""
    if wrong:
        raise InvalidSetting(
            f"setting ROUTER_FILE: {path} is not a router's file: {wrong[:200]}", _FIT_AGAIN
        )
    if not router.judged.beats_length:
        raise InvalidSetting(
            f"setting ROUTER_FILE: {path} is not shown to be better than length alone",
            "Fit it on more labels, or leave ROUTER as it is by default.",
        )
    return router
