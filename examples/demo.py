"""`make demo` runs five kinds on real text, from an empty machine to a real model's answers.

It starts Redis and a model server if they are missing, a worker and HTTP; asks by `curl`; sends a
job of each from examples/; shows each answer with its cost, the quick kinds first; stops all that
it started.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.stack import Stack

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 600.0
WIDTH = 100


#: The exit code of a shell's command that Ctrl-C ended.
INTERRUPTED = 130


def main() -> int:
    """Run the demo; return 0 when all five jobs were answered."""
    try:
        return _demo()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return INTERRUPTED


def _demo() -> int:
    begin = time.monotonic()
    print("Starting Redis, a model server, a worker and HTTP ...", flush=True)
    try:
        with Stack() as stack:
            os.environ.update(stack.environment)
            print(f"Up in {time.monotonic() - begin:.1f} s.", flush=True)
            _show_curl(stack)
            print("\nFive jobs are sent ...", flush=True)
            answered = [_show(name, job) for name, job in _submit()]
    except EmbeddedUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"\n{sum(answered)} of {len(answered)} jobs answered in {time.monotonic() - begin:.1f} s."
    )
    return 0 if all(answered) else 1


def _submit() -> list[tuple[str, Any]]:
    """Send all five at once, as a backend would; they wait in their queues.

    The first three are of the urgent queue, and run in this order.
    """
    # Imported here because the address of Redis is known only now.
    from local_llm_service.producers import Client

    client = Client()
    document = (HERE / "document.md").read_text()
    conversation = json.loads((HERE / "conversation.json").read_text())
    function = json.loads((HERE / "create_course.json").read_text())
    book = json.loads((HERE / "book.schema.json").read_text())
    return [
        (
            "extract_parameters",
            client.extract_parameters(
                "Create a Python Fundamentals course for organization 5", function
            ),
        ),
        (
            "generate",
            client.generate(
                "Explain in two sentences why a queue sits between a website and a slow service.",
                max_tokens=60,
                temperature=0,
            ),
        ),
        (
            "structured_output",
            client.structured_output("Describe the novel Moby-Dick by Herman Melville.", book),
        ),
        ("summarize", client.summarize(document, max_summary_tokens=120)),
        ("compress", client.compress(conversation, target_tokens=150)),
    ]


def _show_curl(stack: Stack) -> None:
    """Ask over HTTP, by the command that is shown, while nobody else does."""
    from local_llm_service.producers.cli.terminal import write

    assert stack.http is not None
    body = {"prompt": "Name a colour.", "max_tokens": 8, "temperature": 0}
    words = ["curl", "-sS", f"{stack.http.url}/generate", "-d", json.dumps(body)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    if shutil.which("curl") is None:
        print("   curl is not installed here")
        return
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    write(done.stdout or done.stderr, sys.stdout)


def _show(name: str, job: Any) -> bool:
    from local_llm_service.producers.cli.output import numbers
    from local_llm_service.producers.cli.waiting import wait
    from local_llm_service.tasks.answer import text_of
    from local_llm_service.worker.errors import ServiceError

    print(f"\n── {name} ── task {job.id}", flush=True)
    try:
        answer = wait(job, TIMEOUT_SECONDS).model_dump(mode="json")
    except TimeoutError:
        print(f"   no answer within {TIMEOUT_SECONDS:g} s")
        return False
    except ServiceError as error:
        print(f"   {error.code}: {error.message}. {error.hint}")
        return False
    _paragraph(text_of(answer, indent=2))
    print(f"   [{numbers(answer)}]", flush=True)
    return True


def _paragraph(text: str) -> None:
    import textwrap

    from local_llm_service.producers.cli.terminal import write

    wrap: Callable[[str], list[str]] = textwrap.TextWrapper(width=WIDTH).wrap
    for line in text.splitlines():
        write("\n".join(f"   {part}" for part in wrap(line) or [""]), sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
