"""KEY_PREFIX: what every key in Redis begins with, and the rule for it."""

from __future__ import annotations

from typing import Final

DEFAULT_PREFIX: Final = "{llm}:"
#: A hash tag in braces, which a Redis Cluster finds the slot by, and `:` at the end: Celery would put
#: an underscore behind another ending.
PREFIX_PATTERN: Final = r"^[^\s{}]*\{[^\s{}]+\}[^\s{}]*:$"
