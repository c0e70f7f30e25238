"""Which versions of Ollama this service understands, and why.

Its exchanges with two of them are recorded, 0.24 and 0.33 (tests/wire), and every recording goes
through the tests. What another version says may be read wrongly.
"""

from __future__ import annotations

import re

#: The first version whose `/api/chat` knows `truncate` and `shift`; an older one ignores them and
#: cuts long prompts silently (api/types.go of v0.12.5 and v0.12.6).
MINIMUM_OLLAMA = (0, 12, 6)
#: The oldest and the newest version that the recordings cover.
OLDEST_RECORDED, NEWEST_RECORDED = (0, 24), (0, 33)


def concern(version: str) -> str | None:
    """What an operator should know about this version, in a sentence; None when it is fine."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])
    if numbers < MINIMUM_OLLAMA:
        return (
            f"Ollama {version} cuts long prompts silently: update it to {_text(MINIMUM_OLLAMA)} or "
            f"newer"
        )
    if OLDEST_RECORDED <= numbers[:2] <= NEWEST_RECORDED:
        return None
    return (
        f"Ollama {version} is outside {_text(OLDEST_RECORDED)} to {_text(NEWEST_RECORDED)}, the "
        "versions that this service is tested with: it may misread an error"
    )


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
