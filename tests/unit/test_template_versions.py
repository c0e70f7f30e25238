"""A kind's prompts are pinned: whoever changes one raises its template version."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.job import KindTask
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import Completion, Prompt
from tests.doubles.said import Said, first_prompt
from tests.unit.fingerprint_values import LIMITS
from tests.unit.test_fingerprint import SAMPLES, request

KINDS: list[KindTask] = [getattr(tasks, name) for name in tasks.__all__]
LINES = "".join(f"Line {number} tells of day {number}.\n" for number in range(370))
NOTE = "It rains on the day that this line tells of, and nobody who was there minds it much."
#: Calls that take several steps in a small context, beside the one of SAMPLES.
LONG: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "Which day?", "context": LINES, "max_context_tokens": 60},
    "summarize": {"context": LINES, "question": "Which day?", "max_summary_tokens": 60},
    "compress": {
        "messages": [{"role": "user", "content": LINES}, {"role": "assistant", "content": "Fine."}],
        "target_tokens": 400,
        "keep_last": 1,
    },
}
#: `digest` of all prompts, by template_version; of the versions before these, of the first prompt.
#: Add a line for a new version; change no old line.
PINNED: dict[str, dict[int, str]] = {
    "generate": {
        1: "faf06b1159362e0f6d9fedb669ac11842194a72833877febe7d8490e5e504859",
        2: "7aa1edd79534e713b85beb286650180760951ba4356758fc3989cd352f2cb433",
        3: "4ccbe2a566d4a8d5923ae6e9c4b594391c3b673f2ad77eba2e15bd347284551c",
    },
    "summarize": {
        1: "9f0cef1dabf633bf7dca9a9cacd70f2f7fcf6dad274f5e092f7a0af557bf3f7e",
        2: "d896817290d95a357cae5ca8e5ca1c7101551a73048d51ac1611b5c579b0eebd",
        3: "ce078835bd98af84e10f943826bf3df1021cd5760d2dc6030fd1072c3b8c2af2",
        4: "95385966c7f1f706b275c70441e6fc8321f39a17164be0274fbb8c423d01e734",
    },
    "compress": {
        1: "9ffa8dce54048fc6580a72d2748924545a397f5a36051ac936b9714d7205f842",
        2: "e5c2c79b438327177deb8324a85e16e0e45dfc1495cfc2d4628875d2881f80a1",
        3: "ebcabdf24dcac48cebc493829ecbcd797104bb52678ea8d54a05262a95ff5f5f",
    },
    "extract_parameters": {
        1: "96153262f801dd54b7039dbd198bfb68d2e8f46e403c61b3785ea52d5198add0",
        2: "e25670e87eede1c030946028e7318a8ddbbab3a96da3b4747536b85e4b9c0861",
        3: "ca288cc3a05b178524c7bca7c38ab23620be9935d4cbb4c2db73af645a4cb1c9",
    },
    "structured_output": {
        1: "3e17009507d6c06476c60f7a0cd15825eb7cf9ce095ea58ae59d4987f358d18d",
        2: "98f6240e52649fe25782bb41b04a60c41f74099e59823c9d90a04372d5ce1062",
        3: "3bb2eb9cef4b4b6bb38259df8d2890fb3600c29e9f777cff42359d77b21408bf",
    },
    "chat": {
        1: "40756358f946ff0c77bd53bd42067cc441bb7ab93a0c8506541c696dcbf1c02d",
        2: "ff6a4926f99794037fbfea3cdbcde29f50bd1075ed8758e4eb9a61e5d4a198b8",
    },
    "embed": {1: "4a4f9d9a1131e14407e23bd974a0945098f5475e3c98824110d9a2519a7796af"},
}


def prompts_of(task: KindTask) -> list[Any]:
    """What the kind asks of a model that never writes what is wanted, nor comes to an end."""
    cut = Completion(f"{NOTE} It po", "m", "length", 50, 30, 0, 0, 0)
    asked: list[Any] = []
    for arguments in (SAMPLES[task.kind.name], LONG.get(task.kind.name)):
        if arguments is not None:
            ask = Said(cut, again=True, context_tokens=400)
            with suppress(InvalidOutput):
                task.kind.work(request(task, arguments), ask)
            asked += ask.prompts
    return asked


def digest(prompts: list[Prompt]) -> str:
    """The SHA-256 of all of them."""
    said = [
        [one.messages, one.max_tokens, asdict(one.sampling), one.schema, one.tools, one.stop]
        for one in prompts
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def test_a_run_has_the_prompts_that_follow_the_first() -> None:
    """Else the next test would pin less than it says."""
    counted = {task.kind.name: len(prompts_of(task)) for task in KINDS if task.kind.name != "embed"}
    assert min(counted.values()) >= 3, counted


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_a_changed_prompt_has_a_new_template_version(task: KindTask) -> None:
    """Otherwise the cache would give answers to the old prompts."""
    kind = task.kind
    if kind.name == "embed":  # it asks for vectors
        texts: Any = first_prompt(kind, request(task, SAMPLES["embed"]), LIMITS.max_output_tokens)
        found = hashlib.sha256(json.dumps(texts.texts).encode()).hexdigest()
    else:
        found = digest(prompts_of(task))
    pinned = max(PINNED[kind.name].items())
    assert (kind.template_version, found) == pinned, (
        f"{kind.name} has other prompts than version {pinned[0]}: raise template_version in "
        f"tasks/{kind.name}.py and add it to PINNED with {found!r}"
    )
