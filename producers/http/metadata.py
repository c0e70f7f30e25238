"""Metadata of OpenAI's objects: pairs of a caller's own, which come back with the object."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator

#: As in OpenAI's API. Pairs, and characters.
PAIRS_MOST: Final = 16
KEY_MOST: Final = 64
VALUE_MOST: Final = 512


def _is_small(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > PAIRS_MOST:
        raise ValueError(f"at most {PAIRS_MOST} pairs")
    if any(len(key) > KEY_MOST or len(value) > VALUE_MOST for key, value in pairs.items()):
        raise ValueError(f"keys up to {KEY_MOST} characters, values up to {VALUE_MOST}")
    return pairs


Metadata = Annotated[dict[str, str], AfterValidator(_is_small)]
