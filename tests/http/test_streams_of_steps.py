"""Streams of jobs that have several spoken steps: the last one's text is what a reader keeps."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

import openai
import pytest

from local_llm_service.tasks import chat
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.testing import LocalLLM
from tests.doubles.pieces import prompt_of, second_try, working_by
from tests.http.conftest import HttpSite
from tests.http.test_jobs import events_of, submitted, text_of


def test_a_later_step_begins_anew(http: HttpSite, local_llm: LocalLLM) -> None:
    """In the events of a job."""
    local_llm.stream("One ", "two ", "three.", pause_seconds=0.01).reply("hidden").reply("One.")
    with working_by(second_try):
        task_id = submitted(http, kind="summarize", args={"context": "text"})
        events = list(events_of(http, task_id))
    names = [name for name, _, _ in events if name not in ("status", "text")]
    assert (names, text_of(events)) == (["restart", "done"], "One.")


@pytest.mark.parametrize(("second", "is_kept"), [("One two, and three.", True), ("Two.", False)])
def test_a_stream_that_takes_nothing_back_goes_on_or_ends_in_an_error(
    http: HttpSite, local_llm: LocalLLM, second: str, is_kept: bool
) -> None:
    """OpenAI's: it goes on where the new text begins as the old one did."""

    def twice(request: Any, ask: Steps) -> Mapping[str, object]:
        ask(prompt_of("first"))
        text = ask(prompt_of("second")).text
        return {"message": {"role": "assistant", "content": text}}

    is_read = Event()
    local_llm.stream("One ", "two").reply(lambda _: second if is_read.wait(5) else "")
    text = ""
    with working_by(twice, chat):
        asked = http.openai().chat.completions.create(
            model="scripted:1b", messages=[{"role": "user", "content": "Hi."}], stream=True
        )
        try:
            for chunk in asked:
                text += chunk.choices[0].delta.content or ""
                if text:
                    is_read.set()
        except openai.APIError:
            assert not is_kept
            assert text.startswith("One")
            return
    assert (text, is_kept) == (second, True)
