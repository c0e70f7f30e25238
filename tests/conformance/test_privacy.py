"""Prompts, answers and API keys are in no log, no error and no repr."""

from __future__ import annotations

import logging
import traceback

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ServiceError
from tests.conformance.calls import SECRET, Caller, ask, prompt
from tests.conformance.conftest import MakeEngine
from tests.conformance.subject import Scene, Scripted
from tests.doubles.openai_errors import QUOTED, QUOTED_KEY

SCENES = {
    "done": Scene(pieces=(SECRET, "!")),
    "cut": Scene(pieces=(SECRET,), end="cut"),
    "error": Scene(pieces=(SECRET,), end="error"),
    "hang": Scene(pieces=(SECRET,), end="hang"),
    "busy": Scene(fault="busy"),
    "failed": Scene(fault="failed"),
    "garbage": Scene(fault="garbage"),
    "missing": Scene(fault="missing"),
    "too_long": Scene(fault="too_long"),
    "refused_key": Scene(fault="refused_key"),
}


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_private_is_logged_or_raised(
    scripted: Scripted,
    make_engine: MakeEngine,
    caplog: pytest.LogCaptureFixture,
    scene: str,
) -> None:
    """However the call ends, at every level of the log, and down to an error's causes."""
    if scene == "refused_key" and scripted.key is None:
        return
    caplog.set_level(logging.DEBUG)
    engine = make_engine(next_token_seconds=0.1)
    scripted.play(SCENES[scene])
    said = [repr(engine), str(vars(engine))]

    def sink(piece: str) -> None:
        raise ValueError(piece)

    try:
        ask(engine, scripted, prompt(f"{SECRET}?", stop=(SECRET,)), on_text=sink,
            stoppable=Caller())  # fmt: skip
        assert scene == "done"
    except ServiceError as error:
        assert scene != "done"
        said += [str(error), repr(error), repr(error.args), error.hint]
        said += traceback.format_exception(error, chain=True)[-1:]
    said += [record.getMessage() for record in caplog.records]
    said += [str(record.exc_info) for record in caplog.records]
    said += engine.notes()
    everything = "\n".join(said)
    for private in (SECRET, QUOTED, QUOTED_KEY, scripted.key):
        assert private is None or private not in everything


def test_the_key_is_in_no_answer_about_the_server(scripted: Scripted, engine: Engine) -> None:
    """Models, version and notes go to everybody who may see `health`."""
    told = f"{engine.models()} {engine.version()} {engine.notes()} {engine.capabilities}"
    assert scripted.key is None or scripted.key not in told
