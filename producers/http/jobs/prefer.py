"""What a request prefers: whether to wait (RFC 7240), and which earlier request it repeats."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_llm_service.producers.http.call import Call
from local_llm_service.worker.errors import InvalidRequest

#: The longest wait, in seconds, that a request can prefer.
WAIT_SECONDS_MOST = 600
KEY_CHARACTERS_MOST = 200

_WAIT = re.compile(r'wait\s*=\s*(?:"(\d{1,9})"|(\d{1,9}))\s*', re.IGNORECASE | re.ASCII)
#: RFC 8941's string, and what can stand there bare.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"', re.ASCII)
_BARE = re.compile(r"[!#-~]+", re.ASCII)


@dataclass(frozen=True)
class Preference:
    """`respond-async`, and how many seconds to wait before that; None where nothing is said."""

    respond_async: bool = False
    wait_seconds: int | None = None

    @property
    def applied(self) -> dict[str, str]:
        """The header of a reply that did as preferred."""
        words = ["respond-async"] if self.respond_async else []
        words += [] if self.wait_seconds is None else [f"wait={self.wait_seconds}"]
        return {"Preference-Applied": ", ".join(words)} if words else {}


def preference_of(call: Call) -> Preference:
    """What the request prefers. What cannot be read is not preferred, as RFC 7240 has it."""
    respond_async, wait = False, None
    for header in call.request.headers.getlist("prefer"):
        for word in header.split(","):
            name = word.partition(";")[0].strip()
            if name.lower() == "respond-async":
                respond_async = True
            elif (found := _WAIT.fullmatch(name)) and wait is None:
                wait = min(int(found[1] or found[2]), WAIT_SECONDS_MOST)
    return Preference(respond_async, wait)


def idempotency_key(call: Call) -> str | None:
    """The request's Idempotency-Key; None without one. Raises InvalidRequest."""
    given = call.request.headers.getlist("idempotency-key")
    if not given:
        return None
    text = given[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    is_key = quoted is not None or _BARE.fullmatch(text) is not None
    if len(given) > 1 or not is_key or not 0 < len(key) <= KEY_CHARACTERS_MOST:
        raise InvalidRequest(
            f"Idempotency-Key: must be one text in double quotes, 1 to {KEY_CHARACTERS_MOST} "
            "characters of ASCII",
            'Send `Idempotency-Key: "an id of your own"`.',
        )
    return key
