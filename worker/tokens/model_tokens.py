"""What one process knows of one model's tokens: its rates, texts that were counted, its server."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from local_llm_service.worker.tokens.rates import TokenRates

#: Texts whose count is kept; each takes some 150 bytes.
COUNTS_MOST = 10_000


class Counts:
    """The tokens of texts, each by its digest; threads share it. The texts are not kept."""

    def __init__(self, most: int = COUNTS_MOST) -> None:
        self._lock, self._most = threading.Lock(), most
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def get(self, text: str) -> int | None:
        """The tokens of a text; None if it was not counted, or too long ago."""
        name = _digest(text)
        with self._lock:
            if name in self._counts:
                self._counts.move_to_end(name)
            return self._counts.get(name)

    def keep(self, text: str, tokens: int) -> None:
        """Keep what was counted; what nobody asked for longest makes room."""
        with self._lock:
            self._counts[_digest(text)] = tokens
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)


@dataclass(eq=False, slots=True)
class ModelTokens:
    """What is known of one model. What is None was not tried yet.

    `overhead`: tokens of a count that are no text. `trims`: its template cuts white space off
    both ends of a message. `read_of_longer`: how many tokens its server reads of a prompt that is
    longer than the context; 0 where it refuses such a prompt.
    """

    rates: TokenRates = field(default_factory=TokenRates)
    counts: Counts = field(default_factory=Counts)
    overhead: int | None = None
    trims: bool | None = None
    read_of_longer: int | None = None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
