"""A caller as the endpoints see it: its tenant, whose tag every id holds, and its limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from uuid import NAMESPACE_URL, uuid4, uuid5

from local_llm_service.tasks.request import Priority
from local_llm_service.worker.store.keys import PRIORITIES

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TAGGED = re.compile(rf"[0-9a-f]{{10}}-{_UUID.pattern}")


@dataclass(frozen=True)
class Caller:
    """Who sends a request. `ceiling`: the most urgent queue that it may use.

    `tenant` is None where no key is needed. 0 stands for no limit. With `keep_local` no word of its
    jobs leaves one's own hardware, whatever they say.
    """

    tenant: str | None = None
    key_id: str = ""
    ceiling: Priority = "high"
    concurrency: int = 0
    streams: int = 0
    keep_local: bool = False

    @cached_property
    def tag(self) -> str:
        """Begins the tenant's ids: 10 hex digits; empty without a tenant."""
        if self.tenant is None:
            return ""
        return blake2b(self.tenant.encode(), digest_size=5).hexdigest()

    def at_most(self, priority: Priority) -> Priority:
        """This queue, or the caller's ceiling where that is less urgent."""
        return max(priority, self.ceiling, key=PRIORITIES.index)

    def new_id(self, key: str | None = None) -> str:
        """A new id of this tenant; for an idempotency key always the same one."""
        made = uuid4() if key is None else uuid5(NAMESPACE_URL, f"{self.tag}/{key}")
        return f"{self.tag}-{made}" if self.tag else str(made)

    def owns(self, task_id: str) -> bool:
        """Whether an id belongs to this tenant; without a tenant, any that belongs to none."""
        if self.tag:
            return task_id.startswith(f"{self.tag}-") and is_tagged(task_id)
        return not is_tagged(task_id)


def is_tagged(task_id: str) -> bool:
    """Whether an id is one that a tenant was given."""
    return _TAGGED.fullmatch(task_id) is not None
