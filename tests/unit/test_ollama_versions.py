"""Which versions of Ollama an operator is warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_llm_service.worker.embedded.ollama_api.handlers import VERSION
from local_llm_service.worker.engine.ollama.versions import concern
from local_llm_service.worker.store.presence import server_name

WIRE = Path(__file__).parents[1] / "wire"


@pytest.mark.parametrize("version", ["0.24.0", "0.27.3", "0.33.0", "0.33.0-rc2", VERSION])
def test_recorded_versions_and_those_between_are_fine(version: str) -> None:
    """The embedded server imitates one of them."""
    assert concern(version) is None


@pytest.mark.parametrize("version", ["0.23.4", "0.34.0-rc1", "1.0.0", "0.12.6"])
def test_versions_outside_the_recordings_are_named(version: str) -> None:
    """A supported range is a promise; outside it the operator knows."""
    assert f"Ollama {version} is outside 0.24 to 0.33" in str(concern(version))


@pytest.mark.parametrize("version", ["0.12.5", "0.9.1", "custom build"])
def test_versions_that_cut_prompts_are_too_old(version: str) -> None:
    """They ignore `truncate` and `shift`."""
    assert "cuts long prompts silently" in str(concern(version))


def test_every_recording_is_of_a_supported_version() -> None:
    """The range is what the recordings cover, at both ends."""
    versions = {json.loads(file.read_text())["ollama_version"] for file in WIRE.rglob("*.json")}
    assert versions
    assert {concern(version) for version in versions} == {None}


def test_the_embedded_server_is_called_so() -> None:
    """It is no Ollama, and nobody should look for one."""
    assert server_name("0.24.0") == "Ollama 0.24.0"
    assert server_name(VERSION) == "embedded server (as Ollama 0.33.0-rc2)"
