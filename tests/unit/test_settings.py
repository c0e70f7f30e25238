"""Settings come from the environment, are checked when read, and keep their secrets."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from local_llm_service.worker.settings import Settings, renamed_variables

ROOT = Path(__file__).parents[2]

#: Variable → (default, another value as the environment spells it, and as Settings reads it).
VARIABLES: dict[str, tuple[Any, str, Any]] = {
    "REDIS_URL": (
        "redis://127.0.0.1:6379/0",
        "rediss://cache:6380/3",
        "rediss://cache:6380/3?ssl_cert_reqs=required",
    ),
    "KEY_PREFIX": ("{llm}:", "{staging}llm:", "{staging}llm:"),
    "ALLOW_EVICTION": (False, "1", True),
    "CALLBACK_BROKER_URL": (None, "redis://cache:6380/4", "redis://cache:6380/4"),
    "CALLBACK_RESULT_BACKEND": (None, "db+sqlite:///results.db", "db+sqlite:///results.db"),
    "OLLAMA_HOST": ("http://127.0.0.1:11434", "https://gpu:443", "https://gpu:443"),
    "MODEL_NAME": ("llama3.1:8b-instruct-q4_K_M", "smollm2:135m", "smollm2:135m"),
    "ENGINES_FILE": (None, "engines.toml", "engines.toml"),
    "MODEL_REVISION": (None, "2026-11", "2026-11"),
    "ROUTER": ("local_llm_service.tasks.routing.complexity:classify", "ours:route", "ours:route"),
    "ROUTER_FILE": (None, "router.json", "router.json"),
    "REMOTE_BUDGET_USD": (None, "5/day", "5/day"),
    "OLLAMA_NUM_PARALLEL": (1, "3", 3),
    "OLLAMA_MAX_LOADED_MODELS": (0, "2", 2),
    "CONCURRENCY": (1, "4", 4),
    "NUM_CTX": (8192, "4096", 4096),
    "MAX_OUTPUT_TOKENS": (2048, "512", 512),
    "MAX_PROMPT_CHARS": (400_000, "1000", 1000),
    "MAX_MESSAGES": (1000, "20", 20),
    "MAX_SCHEMA_DEPTH": (32, "8", 8),
    "MAX_QUEUE_LENGTH": (10_000, "0", 0),
    "MAX_QUEUE_BYTES": (268_435_456, "0", 0),
    "DEAD_LETTERS_BYTES": (67_108_864, "0", 0),
    "MAX_ATTEMPTS": (3, "1", 1),
    "RETRY_BASE_SECONDS": (0.5, "0.25", 0.25),
    "DEADLINE_SECONDS": (86_400.0, "60", 60.0),
    "MODEL_WAIT_SECONDS": (60.0, "5", 5.0),
    "LEASE_SECONDS": (20.0, "30", 30.0),
    "DRAIN_SECONDS": (30.0, "5", 5.0),
    "MAX_CRASHES": (3, "5", 5),
    "CONNECT_SECONDS": (5.0, "1.5", 1.5),
    "FIRST_TOKEN_SECONDS": (300.0, "30", 30.0),
    "NEXT_TOKEN_SECONDS": (60.0, "6", 6.0),
    "RESULT_TTL": (86_400, "3600", 3600),
    "ENABLE_CACHE": (True, "false", False),
    "CACHE_TTL": (3600, "60", 60),
    "CACHE_MAX_ENTRY_BYTES": (262_144, "1000", 1000),
    "CACHE_MAX_BYTES": (268_435_456, "1000000", 1_000_000),
    "HIT_RESULT_TTL": (600, "60", 60),
    "COMPARE_MODEL": ("gpt-4o", "gpt-5", "gpt-5"),
    "PRICES_FILE": (None, "prices.toml", "prices.toml"),
    "METRICS_PORT": (0, "9100", 9100),
    "LOCAL_LLM_PORT": (8015, "0", 0),
    "LOCAL_LLM_BIND": ("127.0.0.1", "::1", "::1"),
    "ALLOW_ANONYMOUS": (False, "1", True),
    "API_KEYS_FILE": (None, "keys.json", "keys.json"),
    "STREAMS_PER_KEY": (100, "0", 0),
    "ORPHAN_SECONDS": (10.0, "2.5", 2.5),
    "MAX_BODY_BYTES": (8_388_608, "1024", 1024),
    "MAX_FILE_BYTES": (209_715_200, "1024", 1024),
    "FILES_DIR": ("files", "/data/files", "/data/files"),
    "CORS_ORIGINS": ("", "https://a.example", "https://a.example"),
    "WEBHOOK_SECRET": (None, "whsec_MDAw", "whsec_MDAw"),
    "WEBHOOK_ALLOW": ("", "hooks.example", "hooks.example"),
    "ALLOW_MODEL_MANAGEMENT": (False, "true", True),
    "LOG_LEVEL": ("INFO", "DEBUG", "DEBUG"),
}

BAD = [
    ("REDIS_URL", "http://127.0.0.1:6379"),
    ("REDIS_URL", "not a url"),
    ("CALLBACK_BROKER_URL", "there"),
    ("CALLBACK_RESULT_BACKEND", "there"),
    ("OLLAMA_HOST", " "),
    ("CONCURRENCY", "0"),
    ("CONCURRENCY", "257"),
    ("CONCURRENCY", "many"),
    ("NUM_CTX", "255"),
    ("MAX_OUTPUT_TOKENS", "0"),
    ("MAX_PROMPT_CHARS", "0"),
    ("MAX_MESSAGES", "0"),
    ("MAX_SCHEMA_DEPTH", "0"),
    ("MAX_QUEUE_LENGTH", "-1"),
    ("MAX_QUEUE_BYTES", "-1"),
    ("DEAD_LETTERS_BYTES", "-1"),
    ("MAX_ATTEMPTS", "0"),
    ("RETRY_BASE_SECONDS", "0"),
    ("DEADLINE_SECONDS", "-5"),
    ("MODEL_WAIT_SECONDS", "-1"),
    ("LEASE_SECONDS", "1"),
    ("DRAIN_SECONDS", "-1"),
    ("MAX_CRASHES", "0"),
    ("CONNECT_SECONDS", "0"),
    ("FIRST_TOKEN_SECONDS", "soon"),
    ("NEXT_TOKEN_SECONDS", "nan"),
    ("RESULT_TTL", "0"),
    ("ENABLE_CACHE", "perhaps"),
    ("CACHE_TTL", "1.5"),
    ("CACHE_MAX_ENTRY_BYTES", "-1"),
    ("CACHE_MAX_BYTES", "much"),
    ("HIT_RESULT_TTL", "0"),
    ("METRICS_PORT", "70000"),
    ("LOCAL_LLM_PORT", "70000"),
    ("ALLOW_ANONYMOUS", "perhaps"),
    ("STREAMS_PER_KEY", "-1"),
    ("ORPHAN_SECONDS", "0"),
    ("MAX_BODY_BYTES", "10"),
    ("MAX_FILE_BYTES", "10"),
    ("ALLOW_MODEL_MANAGEMENT", "perhaps"),
    ("LOG_LEVEL", "LOUD"),
]


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "OLLAMA_NUM_PARALLEL"):
        monkeypatch.delenv(name, raising=False)


def refusal() -> str:
    """The error of `python -m worker`: the names and messages of all problems, without input."""
    with pytest.raises(ValidationError) as refused:
        Settings()
    problems = refused.value.errors(include_input=False, include_url=False)
    return " ".join(f"{'.'.join(map(str, p['loc'])).upper()}: {p['msg']}" for p in problems)


def test_every_setting_is_in_the_table_of_this_file() -> None:
    """A new setting needs a default, a value and a place here."""
    assert {name.upper() for name in Settings.model_fields} == set(VARIABLES)


def test_every_setting_has_a_description() -> None:
    """docs/settings.md describes the settings at more length."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_has_its_documented_default(name: str) -> None:
    """Without any variable the service uses Redis and Ollama on this machine."""
    assert getattr(Settings(), name.lower()) == VARIABLES[name][0]


@pytest.mark.parametrize("name", VARIABLES)
def test_a_setting_is_read_from_the_variable_of_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is the field's name in capitals."""
    _, text, value = VARIABLES[name]
    monkeypatch.setenv(name, text)
    assert getattr(Settings(), name.lower()) == value


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_and_its_variable_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the refusal knows which variable to change."""
    monkeypatch.setenv(name, value)
    assert name in refusal()


def test_concurrency_falls_back_to_ollamas_own_parallelism(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker has one slot per request that Ollama runs at a time."""
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "3")
    assert Settings().concurrency == 3


def test_concurrency_overrides_ollamas_parallelism(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONCURRENCY is the more specific of the two."""
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "3")
    monkeypatch.setenv("CONCURRENCY", "2")
    assert Settings().concurrency == 2


def test_a_bad_parallelism_of_ollama_is_refused_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal names the variable that was set."""
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "many")
    assert "OLLAMA_NUM_PARALLEL" in refusal()


def test_a_bare_host_gets_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ollama` itself accepts OLLAMA_HOST without http://."""
    monkeypatch.setenv("OLLAMA_HOST", "gpu:11434")
    assert Settings().ollama_host == "http://gpu:11434"


def test_a_bare_host_without_a_port_keeps_ollamas_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OLLAMA_HOST=gpu` means port 11434 to `ollama`, and so to us."""
    from ollama._client import _parse_host

    monkeypatch.setenv("OLLAMA_HOST", "gpu")
    assert _parse_host(Settings().ollama_host) == "http://gpu:11434"


def test_an_answer_must_fit_into_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_OUTPUT_TOKENS leaves room for one token of prompt; the refusal names both settings."""
    monkeypatch.setenv("NUM_CTX", "1024")
    monkeypatch.setenv("MAX_OUTPUT_TOKENS", "1024")
    words = refusal()
    assert "MAX_OUTPUT_TOKENS" in words
    assert "NUM_CTX" in words


@pytest.mark.parametrize(
    "name", ["REDIS_URL", "OLLAMA_HOST", "CALLBACK_BROKER_URL", "CALLBACK_RESULT_BACKEND"]
)
@pytest.mark.parametrize("login", ["user:hunter2", ":hunter2"])
def test_a_password_is_masked_for_the_log(
    name: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address stays readable; the login does not."""
    scheme = str(VARIABLES[name][0] or "redis://").partition("://")[0]
    monkeypatch.setenv(name, f"{scheme}://{login}@there:1234")
    masked = Settings().masked()
    assert masked[name.lower()] == f"{scheme}://***@there:1234"
    assert "hunter2" not in repr(masked)


def test_a_password_is_masked_wherever_redis_py_reads_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py accepts a password that contains an @; one behind the `?` is refused."""
    monkeypatch.setenv("REDIS_URL", "redis://:hunt@er2@there:6379/0")
    assert "er2" not in repr(Settings().masked())


def test_the_real_values_stay_unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask is for people; connections need the password."""
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@there:6379/0")
    assert Settings().redis_url == "redis://:hunter2@there:6379/0"


def test_settings_cannot_be_changed_afterwards() -> None:
    """The values logged at the start stay in effect."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().num_ctx = 1


def documented_default(name: str) -> str:
    """The default as docs/settings.md writes it, with numbers without a trailing `.0`."""
    other = {
        "CONCURRENCY": "OLLAMA_NUM_PARALLEL",
        "CALLBACK_BROKER_URL": "REDIS_URL",
        "CALLBACK_RESULT_BACKEND": "CALLBACK_BROKER_URL",
    }
    if name in other:
        return other[name]
    default = VARIABLES[name][0]
    if default in (None, ""):
        return "unset"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_settings_page_names_every_setting_with_its_default() -> None:
    """An operator finds each variable once in docs/settings.md, with its true default."""
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| `([^`]+)` \|", page, re.MULTILINE)
    expected = [(name.upper(), documented_default(name.upper())) for name in Settings.model_fields]
    assert sorted(rows) == sorted(expected)


def test_the_compose_file_passes_every_setting_on() -> None:
    """An operator can set each variable for the container."""
    compose = (ROOT / "docker-compose.yml").read_text()
    names = {name.upper() for name in Settings.model_fields}
    assert {name for name in names if not re.search(rf"- {name}\b", compose)} == set()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose passes an unset variable as an empty one."""
    monkeypatch.setenv("CONCURRENCY", "")
    assert Settings().concurrency == 1


@pytest.mark.parametrize(
    ("given", "renamed"),
    [
        ({}, {}),
        ({"MAX_DELIVERIES": "5"}, {"MAX_DELIVERIES": "MAX_CRASHES"}),
        ({"MAX_DELIVERIES": ""}, {}),
        ({"MAX_DELIVERIES": "5", "MAX_CRASHES": "4"}, {}),
    ],
)
def test_an_old_name_that_counts_is_told(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], renamed: dict[str, str]
) -> None:
    """An empty variable counts as unset, and the new name wins."""
    monkeypatch.delenv("MAX_DELIVERIES", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert renamed_variables() == renamed
    assert Settings().max_crashes == int(
        given.get("MAX_CRASHES") or given.get("MAX_DELIVERIES") or 3
    )


@pytest.mark.parametrize("prefix", ["llm:", "{}:", "{a}", "{a}b", "{a}{b}:", "{ä}:", "{a b}:", ""])
def test_a_key_prefix_without_a_hash_tag_is_refused(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """Or without `:` at its end, or that Lua might write otherwise. Empty means the default."""
    monkeypatch.setenv("KEY_PREFIX", prefix)
    if not prefix:
        assert Settings().key_prefix == "{llm}:"
        return
    with pytest.raises(ValidationError, match=r"one name in braces and end with a colon"):
        Settings()
