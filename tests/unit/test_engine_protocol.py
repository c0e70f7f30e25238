"""Every engine, real or scripted, has the same calls: tests run against what workers use."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from local_llm_service.worker.engine import Engine, Stoppable
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from tests.schedules.engine import Engine as ScriptedEngine

ROOT = Path(__file__).parents[2]
ENGINES = [OllamaEngine, ScriptedEngine]

#: What mypy is asked: whether each may stand where the Protocol is wanted. The last line must be an
#: error: strict mypy complains of an exemption that nothing needs, so one that sees nothing fails.
ASSIGNMENTS = """
from local_llm_service.worker.engine import Engine, Stoppable
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from tests.schedules.engine import Engine as ScriptedEngine

def check(ollama: OllamaEngine, scripted: ScriptedEngine, in_flight: InFlightDelivery) -> None:
    engines: list[Engine] = [ollama, scripted]
    stoppable: Stoppable = in_flight
    wrong: Engine = in_flight  # type: ignore[assignment]
"""


def calls_of(protocol: type) -> list[str]:
    """The names of a Protocol's own members."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


def shape_of(call: Any) -> tuple[list[tuple[str, Any, Any]], dict[str, Any]]:
    """Names, kinds and defaults of the parameters in order, and all annotations, resolved."""
    parameters = inspect.signature(call).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters], get_type_hints(call)


def test_the_protocol_has_the_calls_that_are_compared() -> None:
    """The next test must not pass because it found nothing."""
    assert calls_of(Engine) == ["close", "complete", "models", "version"]
    assert calls_of(Stoppable) == ["on_stop", "reason", "wanted_seconds"]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__module__)
@pytest.mark.parametrize("name", calls_of(Engine))
def test_an_engine_has_each_call_as_the_protocol_writes_it(engine: type, name: str) -> None:
    """The same parameters, defaults and types: a keyword that one of them lacks is seen here."""
    assert shape_of(getattr(engine, name)) == shape_of(getattr(Engine, name))


def test_a_job_in_flight_can_stop_its_generation() -> None:
    """What a slot hands to the engine is a Stoppable."""
    assert shape_of(InFlightDelivery.on_stop) == shape_of(Stoppable.on_stop)
    assert isinstance(inspect.getattr_static(InFlightDelivery, "reason"), property)


def test_engines_and_jobs_fit_by_their_types(tmp_path: Path) -> None:
    """mypy, with the project's settings, agrees: each may be used where the Protocol is wanted."""
    file = tmp_path / "assignments.py"
    file.write_text(ASSIGNMENTS)
    checked = subprocess.run(
        # Silent about what is imported: only whether the pieces fit is asked here. With a cache of
        # its own, because another test may run mypy at the same time.
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", tmp_path, file],
        env={**os.environ, "MYPYPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
