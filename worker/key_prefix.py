"""KEY_PREFIX: what every key in Redis begins with, and the rule for it."""

from __future__ import annotations

from typing import Final

DEFAULT_PREFIX: Final = "{llm}:"
#: A hash tag in braces, by which a Redis Cluster finds the slot, and `:` at the end: behind another
#: ending Celery would put an underscore.
PREFIX_PATTERN: Final = r"^[^\s{}]*\{[^\s{}]+\}[^\s{}]*:$"
