"""A developer's shell and CI must not decide a test's outcome: conftest.py cleans up first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic_settings import EnvSettingsSource

from local_llm_service.worker.settings import Settings
from tests.conftest import forget_settings, variables


def heard() -> dict[str, object]:
    """The values that Settings would read from the environment, before any check."""
    return EnvSettingsSource(Settings)()


@pytest.mark.parametrize("name", sorted({*Settings.model_fields, *map(str.lower, variables())}))
@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_every_setting_is_removed(
    monkeypatch: pytest.MonkeyPatch, name: str, spell: Callable[[str], str]
) -> None:
    """Both spellings go, because Settings reads both."""
    environment = {spell(name): "1", "PATH": "/bin"}
    monkeypatch.setattr("os.environ", environment)
    assert heard(), "it is a setting"
    forget_settings(environment)
    assert heard() == {}
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name",
    ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_CONFIG_MODULE", "OLLAMA_API_KEY"],
)
def test_variables_of_our_libraries_are_removed_too(name: str) -> None:
    """Celery prefers its own variables to any setting of an app."""
    environment = {name: "elsewhere"}
    forget_settings(environment)
    assert environment == {}


def test_this_run_knows_only_its_own_redis() -> None:
    """REDIS_URL is the one variable that conftest.py sets itself."""
    assert heard().keys() == {"redis_url"}
