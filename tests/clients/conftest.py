"""Starts the embedded stack for all tests of the clients, once, from the service's own .venv."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.calls import Site

ROOT = Path(__file__).parents[2]
#: The Python that has the service.
PYTHON = os.environ.get("LOCAL_LLM_PYTHON", str(ROOT / ".venv" / "bin" / "python"))


# Else LiteLLM looks for its list of prices in the internet, for ten seconds.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


@pytest.fixture(scope="session")
def site(url: str) -> Iterator[Site]:
    """The service with the embedded server's models."""
    with Site(url, "smollm2:135m", "smollm2-embed:135m", "smollm2-tools:135m") as made:
        yield made


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The address of the service: LOCAL_LLM_URL, or that of a stack of this run's own."""
    if given := os.environ.get("LOCAL_LLM_URL"):
        yield given
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    stack = subprocess.Popen(
        [PYTHON, "-m", "tests.clients.stack"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with stack:
        assert stack.stdin is not None
        assert stack.stdout is not None
        try:
            address = stack.stdout.readline().strip()
            assert address, "the stack did not start"
            yield address
        finally:
            stack.stdin.close()
