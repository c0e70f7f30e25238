"""Which request an idempotency key stands for, as calls (calls.py)."""

from __future__ import annotations

from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys


def claim_key(keys: Keys, task_id: str, digest: str, seconds: int) -> Calls[str]:
    """Let a task id, made of a key, stand for the request with this digest, if for none yet.

    Returns the digest of the request that it stands for, which lives so long. Who calls it again,
    as a reply was lost or its process died, gets the same.
    """
    name = f"{keys.idempotency}{task_id}"
    if (yield Command(("SET", name, digest, "NX", "EX", seconds))):
        return digest
    held: str | None = yield Command(("GET", name))
    return digest if held is None else held
