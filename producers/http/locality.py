"""Whether a request says, beside its body, that no word of it may leave one's own hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_llm_service.producers.http.call import Call
from local_llm_service.worker.errors import InvalidRequest

HEADER = "X-Keep-Local"


def stays_local(call: Call) -> bool:
    """Whether its key or its header says so; a proxy may add the header to what others sent.

    Raises InvalidRequest for a header that says neither true nor false.
    """
    words = [
        word.strip().lower()
        for value in call.request.headers.getlist(HEADER)
        for word in value.split(",")
    ]
    if any(word not in ("true", "false") for word in words):
        raise InvalidRequest(
            f"{HEADER}: must be true or false", "Correct the header, or leave it out."
        )
    return call.caller.keep_local or "true" in words


def kept_local(given: Mapping[str, Any], is_kept: bool) -> dict[str, Any]:
    """The option that keeps a call local, whatever its body says.

    A body whose own `keep_local` is neither true nor false stays as it is: the kind refuses it.
    """
    is_flag = isinstance(given.get("keep_local"), bool | None)
    return {"keep_local": True} if is_kept and is_flag else {}
