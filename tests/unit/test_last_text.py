"""What a model wrote last stays with the dead letter of its job, and only there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from local_llm_service.producers.cli import cli
from local_llm_service.tasks import structured_output
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.store.bounds import LAST_TEXT_CHARS
from local_llm_service.worker.store.store import process_store

SCHEMA = {"type": "integer", "maximum": 9}


def failed(local_llm: LocalLLM, *texts: str) -> str:
    """The id of a job whose model wrote these texts, of which the last one was the last try."""
    for text in texts:
        local_llm.reply(text)
    job = structured_output.delay("How many?", SCHEMA, cache=False)
    with pytest.raises(InvalidOutput) as failure:
        job.get(timeout=10)
    assert "geheim" not in repr(failure.value.args)
    return str(job.id)


def stored() -> dict[str, str]:
    """All that Redis holds in strings and hashes, by key and field."""
    client: Any = process_store().client
    found = {}
    for key in client.scan_iter():
        if client.type(key) == "string":
            found[key] = client.get(key)
        elif client.type(key) == "hash":
            found |= {f"{key} {name}": value for name, value in client.hgetall(key).items()}
    return found


def test_the_last_text_is_kept_with_the_letter_alone(local_llm: LocalLLM) -> None:
    """Not in the result, the record, or the letters' list; dropping the letter drops it, too."""
    task_id = failed(local_llm, "No.", "Nor geheim.", "It is geheim: 12")
    letters = process_store().dead_letters
    assert letters.last_text(task_id) == "It is geheim: 12"
    keys = process_store().keys
    holders = [where for where, text in stored().items() if "geheim" in text]
    steps = [where for where in holders if ":step" in where]
    assert [one for one in holders if one not in steps] == [f"{keys.dead_letter_texts} {task_id}"]
    assert letters.drop(task_id)
    assert letters.last_text(task_id) is None
    assert process_store().client.get(keys.dead_letter_bytes) in (None, "0")


def test_a_long_text_is_cut_and_says_so(local_llm: LocalLLM) -> None:
    """A megabyte of it would push a thousand other letters out."""
    task_id = failed(local_llm, "No.", "No.", "x" * (LAST_TEXT_CHARS + 5))
    text = process_store().dead_letters.last_text(task_id)
    assert text == "x" * LAST_TEXT_CHARS + "… and 5 more characters"


def test_the_command_shows_it_only_on_demand(local_llm: LocalLLM) -> None:
    """It is somebody's words."""
    task_id = failed(local_llm, "No.", "No.", "geheim")
    run = CliRunner().invoke
    assert "geheim" not in run(cli, ["dead", "show", task_id, "--request"]).output
    assert run(cli, ["dead", "show", task_id, "--text"]).output.endswith("geheim\n")
    shown = json.loads(run(cli, ["dead", "show", task_id, "--text", "--json"]).output)
    assert shown["last_text"] == "geheim"


def test_a_text_that_could_not_be_stored_is_made_storable(local_llm: LocalLLM) -> None:
    """Half a character would fail the write, and with it the job's end."""
    task_id = failed(local_llm, "No.", "No.", '"\ud800"')
    assert process_store().dead_letters.last_text(task_id) == '"?"'
