"""`make demo-batch` kills everything while a batch of 500 lines runs, and counts what is there.

The official `openai` client makes the batch and reads its output. Meanwhile two callers chat, and
workers, Redis and HTTP processes are killed with SIGKILL in turn. A model server that answers by a
script stands in for Ollama, so that each answer says which line it belongs to.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.ports import free_port

#: Set before anything reads it: this process's own client keeps the first REDIS_URL that it sees.
REDIS_PORT = free_port()
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"

LINES, KILLS = 500, 9
#: The exit code of a shell's command that Ctrl-C ended.
INTERRUPTED = 130


def main() -> int:
    """Run it; return 0 when each line is in the output once and no chat ended in silence."""
    try:
        return _demo()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return INTERRUPTED
    except EmbeddedUnavailable as error:
        print(error, file=sys.stderr)
        return 1


def _demo() -> int:
    from benchmarks.chaos.cases.http_batch import REPLICAS, WORKERS, Size, plan_of, play
    from benchmarks.chaos.site import Site

    size = Size(LINES, KILLS)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print(f"Starting Redis, {WORKERS} workers and {REPLICAS} HTTP processes ...", flush=True)
    with Site(plan_of(REDIS_PORT, size)) as site:
        found = play(site, size, say)
    times = Counter(one["custom_id"] for one in found.output)
    once = sum(count == 1 for count in times.values())
    print(f"\nkilled with SIGKILL   {', '.join(f'{n} x {who}' for who, n in found.kills.items())}")
    print(f"lines in the output   {len(found.output)} of {LINES}, {once} of them once")
    print(f"failed lines          {len(found.errors)}")
    print(f"generated again       {found.repeated}, each after a kill")
    chats = found.chats
    print(f"chats answered        {chats['answer']}")
    print(f"chats with an error   {chats['error']} {dict(found.chat_errors)}")
    print(f"half a chat, silent   {chats['half']}")
    return 0 if once == len(found.output) == LINES and not chats["half"] else 1


if __name__ == "__main__":
    sys.exit(main())
