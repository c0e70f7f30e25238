"""A wrong address is named in one line, and no error anywhere shows its password."""

from __future__ import annotations

import traceback

import pytest

from local_llm_service.worker.addresses import check_ollama_host
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.settings import Settings, get_settings

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _fresh_settings() -> object:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    "url", ["foo", f"redis://:{SECRET}@there:70000/0", f"http://:{SECRET}@there", SECRET]
)
def test_a_wrong_redis_url_is_named_alone_and_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONCURRENCY, whose default is made from another setting, is not complained of."""
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(InvalidSetting) as caught:
        get_settings()
    error = caught.value
    assert error.message.startswith("setting REDIS_URL: must be a URL such as redis://")
    assert "CONCURRENCY" not in error.message
    assert "environment variable" in error.hint
    shown = "".join(traceback.format_exception(error)) + repr(error.args) + repr(error.__context__)
    assert SECRET not in shown


def test_settings_made_directly_show_no_value_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic's own error would print what it was given."""
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@there:70000/0")
    with pytest.raises(ValueError, match="redis_url") as caught:
        Settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["foo:bar:baz", "http://foo:bar", "http://", "a b", f"http://u:{SECRET}@:1", "gpu:99999", ":0"],
)
def test_a_wrong_ollama_host_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in a traceback of the HTTP client."""
    monkeypatch.setenv("OLLAMA_HOST", host)
    with pytest.raises(InvalidSetting, match=r"setting OLLAMA_HOST: must be a host") as caught:
        get_settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("gpu", "http://gpu:11434"),
        ("gpu:80", "http://gpu:80"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:80", "http://[::1]:80"),
        ("https://user:word@gpu/path", "https://user:word@gpu/path"),
        ("0.0.0.0", "http://0.0.0.0:11434"),
    ],
)
def test_what_ollama_accepts_is_accepted(host: str, url: str) -> None:
    """Go's net.SplitHostPort with the default port, as in Ollama's envconfig."""
    assert check_ollama_host(host) == url
