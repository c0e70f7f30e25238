"""`make up`: the whole service stays up until Ctrl-C, and says what to try."""

from __future__ import annotations

import signal
import sys
import threading

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.stack import Stack
from local_llm_service.worker.settings import Settings

#: Where people expect it; the default of LOCAL_LLM_PORT.
HTTP_PORT = int(Settings.model_fields["local_llm_port"].default)


def main() -> int:
    """Start everything, print how to use it, wait for Ctrl-C or SIGTERM, stop everything."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    print("Starting Redis, Ollama, a worker, HTTP and Flower ...", flush=True)
    try:
        with Stack(flower=True, http_port=HTTP_PORT) as stack:
            _say(stack)
            while not stopped.wait(1.0):
                for name, process in (("The worker", stack.worker), ("HTTP", stack.http)):
                    if process is not None and not process.running:
                        print(f"{name} ended:\n{process.log_tail()}", file=sys.stderr)
                        return 1
            print("\nStopping ...", flush=True)
    except EmbeddedUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(stack: Stack) -> None:
    assert stack.flower is not None
    assert stack.worker is not None
    assert stack.http is not None
    exports = "\n".join(f"  export {name}={value}" for name, value in stack.environment.items())
    print(
        f"Up. Ctrl-C stops everything.\n\n"
        f"  HTTP         {stack.http.url}  a page for people, and /docs\n"
        f"  Flower       {stack.flower.url}  login {stack.flower.login or 'as you set it'}\n"
        f"  worker log   {stack.worker.log_path}\n\n"
        f"In another shell:\n{exports}\n"
        f"  .venv/bin/local-llm summarize examples/document.md\n"
        f"  .venv/bin/local-llm health\n"
        f"  .venv/bin/local-llm queues\n"
        f'  curl {stack.http.url}/generate -d \'{{"prompt": "What is Python?"}}\'\n',
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
