"""Every engine, real or scripted, has the same calls: tests run on the Protocol of workers."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from local_llm_service.testing.scripted_engine import ScriptedEngine
from local_llm_service.worker.engine import Engine, Stoppable
from local_llm_service.worker.engine.engines import Engines
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from tests.schedules.engine import Engine as ScheduledEngine

ROOT = Path(__file__).parents[2]
ENGINES = [OllamaEngine, OpenAiEngine, Engines, ScriptedEngine, ScheduledEngine]

#: The question for mypy: may each value stand where the Protocol is required? The last line must be
#: an error: strict mypy reports an unused exemption, so a mypy that checks nothing fails the test.
ASSIGNMENTS = """
from local_llm_service.worker.engine import Engine, Stoppable
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.testing.scripted_engine import ScriptedEngine
from tests.schedules.engine import Engine as ScheduledEngine

def check(
    ollama: OllamaEngine,
    openai: OpenAiEngine,
    scripted: ScriptedEngine,
    scheduled: ScheduledEngine,
    in_flight: InFlightDelivery,
) -> None:
    engines: list[Engine] = [ollama, openai, scripted, scheduled]
    stoppable: Stoppable = in_flight
    wrong: Engine = in_flight  # type: ignore[assignment]
"""


def calls_of(protocol: type) -> list[str]:
    """The names of the Protocol's own members."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


def shape_of(call: Any) -> tuple[list[tuple[str, Any, Any]], dict[str, Any]]:
    """Names, kinds and defaults of the parameters in order, and all resolved annotations."""
    call = call.fget if isinstance(call, property) else call
    parameters = inspect.signature(call).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters], get_type_hints(call)


def test_the_protocol_has_the_compared_calls() -> None:
    """The next test must not pass because it found nothing."""
    assert calls_of(Engine) == [
        "capabilities",
        "close",
        "complete",
        "context_tokens",
        "embed",
        "models",
        "notes",
        "occupied",
        "on_free",
        "version",
    ]
    assert calls_of(Stoppable) == ["on_stop", "reason", "wanted_seconds"]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__module__)
@pytest.mark.parametrize("name", calls_of(Engine))
def test_an_engine_has_each_call_as_the_protocol_writes_it(engine: type, name: str) -> None:
    """Parameters, defaults and types are the same, so a missing keyword fails here."""
    assert shape_of(getattr(engine, name)) == shape_of(getattr(Engine, name))


def test_a_job_in_flight_can_stop_its_generation() -> None:
    """A slot passes an InFlightDelivery to the engine as its Stoppable."""
    assert shape_of(InFlightDelivery.on_stop) == shape_of(Stoppable.on_stop)
    assert isinstance(inspect.getattr_static(InFlightDelivery, "reason"), property)


def test_engines_and_jobs_fit_by_their_types(tmp_path: Path) -> None:
    """mypy, with the project's settings, accepts each where the Protocol is required."""
    file = tmp_path / "assignments.py"
    file.write_text(ASSIGNMENTS)
    checked = subprocess.run(
        # Imported modules are followed silently: only the fit matters here. The cache is separate
        # because another test may run mypy at the same time.
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", tmp_path, file],
        env={**os.environ, "MYPYPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
