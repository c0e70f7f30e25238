"""The sets ask and judge as they say, on a model that copies and on tiny data of the same shape."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.evaluate import load
from evals.frame.bfcl_memory import conversations
from evals.frame.data import Data
from evals.frame.eval_set import OURS, Item
from evals.frame.here import Here
from evals.frame.plain_ollama import PlainOllama
from evals.frame.qmsum import FILE, meeting_questions
from evals.frame.records import Records, Subject
from evals.frame.run import Run, chosen
from evals.frame.tables import Results
from local_llm_service import AsyncClient
from local_llm_service.testing.local_llm import MODEL, LocalLLM
from local_llm_service.worker.errors import ContextOverflow

TURNS = [
    *("Tell me about the plan.", "It was Marguerite who wanted the lighthouse to cost 4,500."),
    *("And the harbour?", "The harbour waits for Tuesday, as Oswald said.", "Good, goodbye then."),
]
ANSWER = "It was said that Marguerite wanted the lighthouse at 4,500."
FACTS = ["marguerite", "4 500", "wanted", "lighthouse"]
#: What each model says, whatever it is asked.
OURS_SAYS, NAIVE_SAYS = "Marguerite wanted it at 4,500.", "The lighthouse is"


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """One meeting and one conversation."""
    meeting = {
        "meeting_transcripts": [
            {"speaker": "AB"[place % 2], "content": turn} for place, turn in enumerate(TURNS)
        ],
        "general_query_list": [{"query": "Summarize the whole meeting.", "answer": ANSWER}],
        "specific_query_list": [
            {"query": "What about money?", "answer": ANSWER, "relevant_text_span": [["1", "1"]]}
        ],
    }
    _write(tmp_path / FILE, [meeting])
    folder = tmp_path / "bfcl_eval/data"
    questions = {"scenario": "finance", "question": [[{"role": "user", "content": "Who?"}]]}
    _write(
        folder / "BFCL_v4_memory.json",
        [{"id": "q-0", **questions}, {"id": "q-1", **questions}, {"id": "q-2", **questions}],
    )
    source = "...as Oswald said."
    _write(
        folder / "possible_answer/BFCL_v4_memory.json",
        [
            {"id": "q-0", "ground_truth": ["Marguerite"], "source": "It was Marguerite..."},
            {"id": "q-1", "ground_truth": ["Oswald"], "source": source},
            {"id": "q-2", "ground_truth": ["said by another"], "source": source},
        ],
    )
    for scenario in ("customer", "healthcare", "notetaker", "student"):
        _write(folder / f"memory_prereq_conversation/memory_{scenario}.json", [])
    turns = [[{"role": "user", "content": turn * 20}] for turn in TURNS]
    _write(folder / "memory_prereq_conversation/memory_finance.json", [{"question": turns}])
    return Data([tmp_path])


def _write(file: Path, lines: list[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def run(name: str, items: list[Item], folder: Path) -> Results:
    """Both sides of a set, once."""
    one = load(name)

    def naive(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        words = len(body["messages"][-1]["content"].split())
        reply = {"message": {"content": NAIVE_SAYS}, "done_reason": "stop"}
        return httpx.Response(200, json={**reply, "prompt_eval_count": words + 9, "eval_count": 3})

    async def ask() -> None:
        plain = PlainOllama("http://ollama.invalid", MODEL, 8192, httpx.MockTransport(naive))
        async with AsyncClient() as client:
            await Run(one, items, records, lambda _: None).ask(Here(client, plain))

    with Records(folder / "x.jsonl", Subject(MODEL, "ab", "0.33.0", 8192), one) as records:
        asyncio.run(ask())
        return Results.of(one, items, records.all())


def rates(results: Results, side: str) -> dict[str, float]:
    """By measure, over all groups."""
    scores = [record.outcome.scores for record in results.of_side(side)]
    return {
        measure.name: sum(one[measure.name].points for one in scores)
        / (sum(one[measure.name].of for one in scores) or 1)
        for measure in results.one.measures
    }


def test_questions_count_only_where_their_conversation_has_the_gold_string(data: Data) -> None:
    """Of what is not there, no rule can tell whether it was kept."""
    (one,) = conversations(data)
    assert [gold for _, gold in one.questions] == [["Marguerite"], ["Oswald"]]


def test_facts_are_in_the_answer_and_its_part_and_not_in_the_question(data: Data) -> None:
    """Names, numbers and rare words; a part holds whole turns within its words."""
    whole, asked = meeting_questions(data)
    assert (whole.question, sorted(whole.facts)) == (None, sorted(FACTS))
    assert sorted(asked.facts) == sorted(FACTS)
    assert asked.part(1) == f"B: {TURNS[1]}"
    assert asked.part(26).splitlines() == [f"A: {TURNS[0]}", f"B: {TURNS[1]}", f"A: {TURNS[2]}"]
    assert asked.part(1000) == asked.text


@pytest.mark.parametrize("name", ["summaries", "meetings"])
def test_facts_of_summaries_are_counted(
    name: str, data: Data, local_llm: LocalLLM, tmp_path: Path
) -> None:
    """Ours said three of four, the naive one said one."""
    local_llm.reply(OURS_SAYS, times=None)
    items = list(load(name).items(data))
    long = "The weather was discussed again. " * 200
    items = [Item(one.key, _longer(one.data, long), one.group, one.possible) for one in items]
    results = run(name, items, tmp_path)
    assert rates(results, OURS) == {"facts kept": 3 / 4}
    assert rates(results, "one-line summary") == {"facts kept": 1 / 4}
    assert rates(results, "truncation") == {"facts kept": 1.0}


def _longer(asked: Any, more: str) -> Any:
    return type(asked)(f"{asked.text}\n{more}", asked.question, asked.facts, asked.tokens)


def test_conversations_judge_what_is_kept_and_what_is_recalled(
    data: Data, local_llm: LocalLLM, tmp_path: Path
) -> None:
    """The same model answers from each side's text; it knows nothing here."""
    local_llm.reply("Marguerite and Oswald spoke.", times=None)
    results = run("conversations", list(load("conversations").items(data))[:1], tmp_path)
    ours = rates(results, OURS)
    assert (ours["gold strings kept"], ours["questions answered"]) == (1.0, 0.0)
    assert ours["length"] > 0
    assert rates(results, "one-line summary")["gold strings kept"] == 0.0
    assert len(results.of_side("truncation")) == 1


def test_budgets_are_judged_by_the_model_servers_count(
    data: Data, local_llm: LocalLLM, tmp_path: Path
) -> None:
    """The naive answers are short and unfinished."""
    local_llm.reply(OURS_SAYS, times=None)
    results = run("budget", list(load("budget").items(data)), tmp_path)
    assert set(rates(results, OURS).values()) == {1.0}
    told = rates(results, "told the budget")
    assert (told["within budget"], told["finished"]) == (1.0, 0.0)


def test_questions_are_asked_of_the_summary(
    data: Data, local_llm: LocalLLM, tmp_path: Path
) -> None:
    """Our side summarizes with the question and generates; a gold string in the answer counts."""
    local_llm.reply("It was Marguerite or Oswald.", times=None)
    results = run("qa", list(load("qa").items(data)), tmp_path)
    assert {job.kind for job in local_llm.submitted} == {"summarize", "generate"}
    assert rates(results, OURS) == {"answers right": 1.0, "gold string kept": 1.0}
    assert rates(results, "truncation")["answers right"] == 0.0


def test_needles_are_read_or_lost(local_llm: LocalLLM, tmp_path: Path) -> None:
    """Each size has a needle at head, middle and tail, in the text once."""
    items = list(load("needles").items(Data()))
    assert len({item.group for item in items}) == 5
    for item in items:
        text, _, number = item.data
        assert text.count(number) == 1
    local_llm.reply("The number is 12345.", times=None)
    results = run("needles", chosen(items, 5), tmp_path)
    assert rates(results, OURS) == {"input read or refused": 1.0, "needle found": 0.0}


def test_a_needle_that_was_refused_is_not_lost_in_silence(
    local_llm: LocalLLM, tmp_path: Path
) -> None:
    """It counts as a failure, and as no silent one."""
    local_llm.fail(ContextOverflow("no room"), times=None)
    items = chosen(list(load("needles").items(Data())), 5)
    results = run("needles", items, tmp_path)
    assert rates(results, OURS) == {"input read or refused": 1.0, "needle found": 0.0}
    failures = {record.outcome.failure for record in results.of_side(OURS)}
    assert failures == {"context_overflow"}


@pytest.mark.parametrize(
    ("says", "obeyed", "facts"),
    [
        ("Banana", 1.0, 0.0),
        ("Vogel says the text asks for a banana.", 0.0, 0.5),
        ("A bridge for 320,000 euros; Vogel was against it.", 0.0, 1.0),
    ],
)
def test_an_order_is_obeyed_where_nothing_of_the_text_is_left(
    local_llm: LocalLLM, tmp_path: Path, says: str, obeyed: float, facts: float
) -> None:
    """A summary may tell of the order."""
    items = [item for item in load("injections").items(Data()) if item.key == "override"]
    local_llm.reply(says, times=None)
    results = run("injections", items, tmp_path)
    assert rates(results, OURS) == {"orders obeyed": obeyed, "facts kept": facts}
