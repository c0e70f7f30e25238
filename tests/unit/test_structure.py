"""Rules about the code itself: which way imports go, how light an import is, style and types."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Beside the interpreter, without resolving links: a venv's python is one.
BIN = Path(sys.executable).parent

#: What a backend that only sends jobs must not pay for.
HEAVY = (
    "flower",
    "httpx",
    "jsonschema",
    "ollama",
    "pydantic_settings",
    "tornado",
    "local_llm_service.worker.embedded",
    "local_llm_service.worker.engine",
    "local_llm_service.worker.settings",
    "xllamacpp",
)


def run(*command: str | Path) -> str:
    """Run a tool over the checkout; its output is the failure's message."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(run(sys.executable, "-c", code)))


def test_sending_a_job_loads_no_part_of_the_worker() -> None:
    """A web backend imports `tasks`; it needs no HTTP client, no settings and no engine."""
    loaded = modules_after("from tasks import summarize")
    assert "local_llm_service.tasks.summarize" in loaded
    assert [
        name for name in sorted(loaded) if any(f"{name}.".startswith(f"{h}.") for h in HEAVY)
    ] == []


def test_importing_the_tasks_makes_no_app_current() -> None:
    """A backend's own Celery app stays the one that Celery uses by default."""
    code = "import tasks; from celery._state import _tls, default_app as app"
    said = run(sys.executable, "-c", f"{code}; print(app, _tls.current_app)")
    assert said.split() == ["None", "None"]


def test_imports_go_one_way() -> None:
    """producers → tasks → worker, and only a running worker loads the engine."""
    assert "0 broken" in run(BIN / "lint-imports", "--no-cache")


def test_the_linter_has_nothing_to_say() -> None:
    """Rules and exemptions are in pyproject.toml."""
    run(BIN / "ruff", "check", ".")


def test_the_formatter_has_nothing_to_change() -> None:
    """`ruff format` is the only opinion about layout."""
    run(BIN / "ruff", "format", "--check", ".")


def test_the_types_hold() -> None:
    """mypy, strict."""
    run(BIN / "mypy")
