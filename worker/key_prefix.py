"""KEY_PREFIX, with which every key in Redis begins, and its rule."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_PREFIX: Final = "{llm}:"
#: Printable ASCII with one hash tag, by which a Redis Cluster finds the slot. It ends with a colon:
#: behind another ending Celery would put an underscore.
_PATTERN: Final = re.compile(r"[!-z|~]*\{[!-z|~]+\}[!-z|~]*:")


def check_prefix(prefix: str) -> str:
    """Return `prefix`, or raise ValueError where it breaks the rule."""
    if _PATTERN.fullmatch(prefix) is None:
        raise ValueError(
            "must have one name in braces and end with a colon, in printable ASCII, for example "
            "{llm}: or {staging}llm:"
        )
    return prefix
