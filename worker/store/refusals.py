"""Why a Redis that is there does nothing for us, and what a person can do about it."""

from __future__ import annotations

import re
from typing import Final

import redis

#: The beginning of Redis's reply, or the class that redis-py makes of it → (reason, hint).
_FULL = (
    "is out of memory",
    "Raise its maxmemory, or let queued jobs end; then send the job again.",
)
_AUTH = ("refuses the login", "Check user and password in REDIS_URL.")
_LOADING = ("is reading its data from disk", "Try again in a moment.")
_READ_ONLY = ("is a replica, which takes no jobs", "Let REDIS_URL name the primary.")
_BY_CLASS: Final = (
    (redis.exceptions.OutOfMemoryError, _FULL),
    (redis.exceptions.AuthenticationError, _AUTH),
    (redis.exceptions.BusyLoadingError, _LOADING),
    (redis.exceptions.ReadOnlyError, _READ_ONLY),
)
_BY_WORD: Final = {
    "OOM": _FULL,
    "MISCONF": (
        "cannot write to its disk",
        "Free space on its disk and see its log; it takes jobs again by itself.",
    ),
    "LOADING": _LOADING,
    "READONLY": _READ_ONLY,
    "NOAUTH": _AUTH,
    "WRONGPASS": _AUTH,
    "NOPERM": ("does not allow the command to this user", "Check the user's ACL rules."),
    "NOREPLICAS": ("has too few replicas to take a job", "Start its replicas."),
}

#: The word that a reply begins with; a script that a command of its own ended shows it further on.
_WORD: Final = re.compile(r"(?:^|: )-?([A-Z]+)\b")


def refusal(error: BaseException) -> tuple[str, str] | None:
    """The reason and a hint; None where Redis did not answer, or answered something else.

    Also of an error that kombu has put around redis-py's.
    """
    known: BaseException | None = error
    while known is not None and not isinstance(known, redis.RedisError):
        known = known.__cause__ or known.__context__
    if known is None:
        return None
    for kind, found in _BY_CLASS:
        if isinstance(known, kind):
            return found
    for word in _WORD.findall(str(known)):
        if word in _BY_WORD:
            return _BY_WORD[word]
    if isinstance(known, redis.ResponseError):
        return f"refuses the command ({type(known).__name__})", "See the log of Redis."
    return None
