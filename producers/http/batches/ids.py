"""Ids of files and batches: a word and an id of their tenant's, so that no path is ever made of
what a caller sends."""

from __future__ import annotations

import re

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.worker.errors import NotFound

_ID = re.compile(r"(?:file-|batch_)(?:([0-9a-f]{10})-)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
FILE, BATCH = "file-", "batch_"


def tag_of(object_id: str) -> str:
    """The tag of the tenant whose id it is; "" without one. Raises ValueError for no such id."""
    found = _ID.fullmatch(object_id)
    if found is None:
        raise ValueError("not an id of a file or batch")
    return found[1] or ""


def own(caller: Caller, object_id: str, word: str, param: str = "") -> str:
    """The id, which has to be one of the caller's. Raises NotFound for any other text.

    `param` names the member that holds it.
    """
    is_one = object_id.startswith(word) and _ID.fullmatch(object_id) is not None
    if not is_one or not caller.owns(object_id.removeprefix(word)):
        raise no_such(word, param)
    return object_id


def no_such(word: str, param: str = "") -> NotFound:
    """The error for an id that the caller has not."""
    what = "file" if word == FILE else "batch"
    message = f"{param}: no such {what}" if param else f"no such {what}"
    return NotFound(message, "Check the id. Files and batches are kept for 30 days.")
