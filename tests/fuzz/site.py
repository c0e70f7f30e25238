"""A whole service in one process, with a model that answers at once, to be asked by anything.

`python -m tests.fuzz.site PORT` serves it until Ctrl-C: to look at the pages.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from local_llm_service.producers.http.app import make_app
from local_llm_service.producers.http.server import Server, config_of
from local_llm_service.testing.local_llm import LocalLLM, local_llm_service
from local_llm_service.testing.stand_in import fake
from local_llm_service.worker.settings import get_settings
from tests.http.api_keys import operate

MODEL = "smollm2:135m"
SENTENCE = "Python is a language that many people read with ease and write with joy. "


@contextmanager
def service(slots: int = 4, **settings: Any) -> Iterator[LocalLLM]:
    """The service on fakeredis with a scripted model, without HTTP."""
    with tempfile.TemporaryDirectory() as files, fake() as redis:
        given = {"files_dir": files, "model_wait_seconds": 0.2, **settings}
        with local_llm_service(redis, (MODEL,), slots, given) as there:
            yield there


def serve(port: int) -> None:
    """Serve HTTP on this process's settings until a signal."""
    settings = get_settings().model_copy(update={"local_llm_port": port})
    uvloop.run(Server(config_of(settings, make_app())).serve())


def main(port: str, pace: str = "slow") -> None:
    """Serve on a port.

    "slow": for people to look at, with a model that writes as a real one. "fast": for a fuzzer,
    with an API key, which is printed before the service answers.
    """
    with service() as there:
        if pace == "slow":
            words = [f"{word} " for word in (SENTENCE * 6).split()]
            there.stream(*words, pause_seconds=0.06, times=None)
        else:
            sys.stdout.write(f"{operate('add', 'fuzz', '--tenant', 'fuzz')}\n")
            sys.stdout.flush()
        serve(int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
