"""What a job that nobody can run is told, and what a worker says it cannot do."""

from __future__ import annotations

from typing import Any

from local_llm_service.worker.errors import ModelFailed, ModelMissing
from local_llm_service.worker.intake.reasons import reasons_of
from local_llm_service.worker.lease.unserved import can_be_run, unserved_error
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.store.presence import EnginePresence, Presence
from local_llm_service.worker.store.states import JobRecord


def worker(name: str = "w1", has: tuple[str, ...] = ("fake:1b",), **more: Any) -> Presence:
    """A worker whose default is fake:1b."""
    return Presence(
        **{
            "name": name, "slots": 1, "running": 0, "model": "fake:1b", "ollama_host": "http://h:1",
            "ollama_version": "0.33.0", "ollama_reachable": True, "cache_enabled": True,
            "models": [Model(one, "d", 1, None) for one in has], **more,
        }
    )  # fmt: skip


def test_a_model_that_nobody_has() -> None:
    """The hint has the command and what is there."""
    error = unserved_error(JobRecord(model="big:7b"), [worker(), worker("w2", ("small:1b",))])
    assert isinstance(error, ModelMissing)
    assert error.message == "no live worker has model 'big:7b'"
    assert error.hint.endswith("or use one that is there: fake:1b, small:1b.")


def test_only_names_that_get_an_answer_are_there() -> None:
    """Not the alias that was asked for, whose model is not there."""
    here = worker(aliases={"big": "big:7b", "little": "fake:1b"}, routes=["auto", "smart"])
    error = unserved_error(JobRecord(model="big:latest"), [here])
    assert error.hint.endswith("or use one that is there: fake:1b, little, smart.")


def test_the_default_model() -> None:
    """It is named where the workers have one; without any worker nobody knows it."""
    assert "'fake:1b'" in unserved_error(JobRecord(model="*"), [worker(has=())]).message
    assert "the default model" in unserved_error(JobRecord(model="*"), []).message


def test_engines_that_failed_it_are_named() -> None:
    """Those that failed this job, and those that fail the model."""
    there = [worker(failing=["fake:1b"]), worker("w2")]
    error = unserved_error(JobRecord(model="*", failed_by="w2 w0"), there)
    assert isinstance(error, ModelFailed)
    assert error.message.endswith("its engine failed at w2, w0, w1")


def test_who_can_run_it() -> None:
    """A worker with the model whose engine has failed neither it nor the model."""
    job = JobRecord(model="*", failed_by="w1")
    assert not can_be_run(job, [worker()])
    assert can_be_run(job, [worker(), worker("w2")])
    assert not can_be_run(job, [worker("w2", failing=["fake:1b"])])
    assert not can_be_run(JobRecord(model="big:7b"), [worker()])


def test_a_worker_says_why_it_cannot_answer() -> None:
    """In words, with what to do; nothing while it can."""
    assert reasons_of(worker()) == []
    assert "run `ollama pull fake:1b`" in reasons_of(worker(has=()))[0]
    assert "fails jobs with model 'fake:1b'" in reasons_of(worker(failing=["fake:1b"]))[0]
    away = worker(has=(), ollama_reachable=False, closed_by=["ollama"])
    assert reasons_of(away) == [
        "Ollama does not answer at http://h:1: start it with `ollama serve`"
    ]
    assert reasons_of(worker(closed_by=["draining"])) == ["it is shutting down"]


def away(*models: str) -> EnginePresence:
    """An engine that does not answer and had these models."""
    return EnginePresence(
        name="gpu1", kind="openai_compatible", url="http://g:1", leaves_the_house=False,
        reachable=False, version=None, slots=1, running=0, models=list(models),
    )  # fmt: skip


def test_a_job_waits_for_an_engine_that_is_away() -> None:
    """By any name of its model: it is not the same as one that nobody has."""
    there = worker(engines=[away("big:7b")], aliases={"big": "big:7b", "small": "fake:1b"})
    assert can_be_run(JobRecord(model="big:7b"), [there])
    assert can_be_run(JobRecord(model="big:latest"), [there])
    assert can_be_run(JobRecord(model="small:latest"), [there])
    assert not can_be_run(JobRecord(model="other:1b"), [there])
    assert reasons_of(there) == []


def test_aliases_and_routes_are_names_that_are_there() -> None:
    """The hint lists them; `auto` goes without saying."""
    there = worker(aliases={"small": "fake:1b"}, routes=["auto", "smart"], failing=["fake:1b"])
    hint = unserved_error(JobRecord(model="other:1b"), [there]).hint
    assert hint.endswith("or use one that is there: fake:1b, small, smart.")
    assert not can_be_run(JobRecord(model="small:latest"), [there]), "its engine fails it"
    assert can_be_run(JobRecord(model="smart:latest"), [there]), "it may have another model"


def test_the_reasons_of_another_kind_of_engine() -> None:
    """Nobody is told to pull a model from a server that is no Ollama."""
    gone = replace_in(away(), url="http://h:1")
    there = worker(has=(), ollama_reachable=False, engines=[gone])
    assert reasons_of(there) == [
        "the engine does not answer at http://h:1: start it, and check its url"
    ]
    there = worker(has=(), engines=[replace_in(gone, reachable=True)])
    assert "check MODEL_NAME and ENGINES_FILE" in reasons_of(there)[0]


def replace_in(engine: EnginePresence, **values: Any) -> EnginePresence:
    """The engine with other values."""
    return engine.model_copy(update=values)
