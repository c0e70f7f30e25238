"""KEY_PREFIX, with which every key in Redis begins, and its rule."""

from __future__ import annotations

from typing import Final

DEFAULT_PREFIX: Final = "{llm}:"
#: A hash tag in braces, by which a Redis Cluster finds the slot, and `:` at the end: Celery would
#: add an underscore to any other ending.
PREFIX_PATTERN: Final = r"^[!-z|~]*\{[!-z|~]+\}[!-z|~]*:$"
