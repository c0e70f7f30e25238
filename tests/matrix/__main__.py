"""`python -m tests.matrix [celery-5.4 ...]`: the client on each minor version of Celery.

A worker of this checkout, on its own pins, answers producers from the environments of
`environments.py`; each runs producer.py, processes.py and the unit tests of what a caller's process
computes. Exit code 1: something failed, 2: an environment could not be made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.stack import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script
from tests.matrix.environments import (
    HERE,
    HOME,
    IMPORTS,
    ROOT,
    TOOLS,
    Environment,
    MatrixError,
    build_wheel,
    environments,
    prepare_tools,
)

OWN = ("producer.py", "processes.py")
#: Validation, schemas and fingerprints run in the caller, on its pydantic and its jsonschema-rs.
UNIT = (
    *("test_request.py", "test_json_schema.py", "test_fingerprint.py"),
    *("test_model_schema.py", "test_function_schema.py"),
)

#: Environments that are prepared and tested side by side; mostly they wait.
AT_ONCE = 2

#: After the environment's own packages on the path, so that none of theirs is hidden.
PYTEST = (
    f"import sys; sys.path += {[str(TOOLS), str(IMPORTS)]}; import pytest; sys.exit(pytest.main())"
)


def main(names: list[str]) -> int:
    """See the module."""
    chosen = [one for one in environments() if not names or one.name in names]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            prepare_tools()
            wheel = build_wheel()
            list(threads.map(lambda environment: environment.prepare(wheel), chosen))
        except MatrixError as error:
            print(error, file=sys.stderr)
            return 2
        with RedisProcess() as redis, FakeOllama(answer) as ollama:
            site = {"REDIS_URL": redis.url, "OLLAMA_HOST": ollama.host, "MODEL_NAME": "fake:1b"}
            site["MODEL_WAIT_SECONDS"] = "0.5"
            with WorkerProcess({**site, "CONCURRENCY": "4"}):
                passed = list(threads.map(lambda one: run_tests(one, redis.url), chosen))
    print(f"{sum(passed)} of {len(passed)} environments pass")
    return 0 if passed and all(passed) else 1


def run_tests(environment: Environment, redis_url: str) -> bool:
    """Run the tests in one environment and print what they say."""
    files = [*(HERE / name for name in OWN), *(ROOT / "tests" / "unit" / name for name in UNIT)]
    options = ["-c", HERE / "pytest.ini", "--confcutdir", HERE]
    done = subprocess.run(
        [environment.python, "-c", PYTEST, *options, *files],
        cwd=HOME,  # where nothing can be imported from
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "REDIS_URL": redis_url,
            "MODEL_NAME": "fake:1b",
            "MATRIX_CELERY": environment.name.removeprefix("celery-"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"--- {environment.name}\n{done.stdout}", flush=True)
    return done.returncode == 0


def answer(body: dict[str, Any]) -> Script:
    """The question in brackets; JSON where it is asked for. The first word may ask for time."""
    if "format" in body:
        return Script(chunks=('{"n": 1}',))
    words = str(body["messages"][-1]["content"])
    if words.startswith("endless"):
        return Script(chunks=("a",) * 600, pause_seconds=0.1)
    return Script(chunks=(f"<{words}>.",), first_seconds=1.0 if words.startswith("brief") else 0.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
