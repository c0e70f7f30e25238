"""`local-llm route fit`: a router is written only if it beats length alone, and holds no words."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from local_llm_service.producers import route_fit
from local_llm_service.producers.cli import cli
from local_llm_service.producers.route_fit.fitted_router import fit_router
from local_llm_service.producers.route_fit.fitting import Table, fit, unseen_logits
from local_llm_service.producers.route_fit.judging import Ranked, found_of
from local_llm_service.producers.route_fit.labels import Label, read_labels
from local_llm_service.tasks.routing.router_file import read_router
from local_llm_service.worker.errors import InvalidRequest

EASY = [
    "weather",
    "time",
    "capital",
    "greeting",
    "menu",
    "date",
    "colour",
    "price",
    "phone",
    "hours",
]
HARD = ["proof", "integral", "deadlock", "theorem", "tradeoff", "architecture", "kernel"]
SECRET = "zanzibar"


def labels(number: int, by: str) -> list[Label]:
    """Prompts of invented words, whose labels go by one thing."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(300)]
    made = []
    for _ in range(number):
        some = rng.choices(words, k=rng.randint(4, 40))
        is_complex = len(some) > 20 if by == "length" else rng.random() < 0.4
        if by == "words":
            some[0] = rng.choice(HARD if is_complex == (rng.random() < 0.9) else EASY)
        made.append(Label(" ".join(some), is_complex))
    return made


def lines(some: list[Label]) -> str:
    """The labels as a file's text."""
    return "".join(
        json.dumps({"prompt": one.prompt, "complex": one.is_complex}) + "\n" for one in some
    )


def run(*words: str, given: str = "") -> tuple[int, str, str]:
    """The command's exit code, stdout and stderr."""
    done = CliRunner().invoke(cli, ["route", "fit", *words], input=given, standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return int(done.return_value or 0), done.stdout, done.stderr


def test_labels_that_go_by_words_make_a_router(tmp_path: Path) -> None:
    """It is written, read by the worker's code, and tells unseen prompts by their words."""
    some = [*labels(300, "words"), Label(f"the {SECRET} file", True)]
    file = tmp_path / "router.json"
    code, out, err = run("-", "-o", str(file), "--json", given=lines(some))
    said = json.loads(out)
    assert code == 0
    assert said["beats_length"] is True
    assert said["difference"]["low"] > 0
    assert "ROUTER=local_llm_service.tasks.routing.fitted:classify" in err
    router = read_router(str(file))
    assert router.score("deadlock in the kernel") > 0.5 > router.score("phone weather")
    text = file.read_text()
    assert not [word for word in (*EASY, *HARD, SECRET) if word in text]
    assert file.stat().st_mode & 0o077 == 0


def test_what_is_written_scores_as_what_was_judged() -> None:
    """The worker's plain Python and the arrays of the fit are one model."""
    some = labels(120, "words")
    table = Table.of(some)
    every = np.arange(len(some))
    router = fit_router(some, 3, 0).file
    scores = 1 / (1 + np.exp(-fit(table, every).logits(table, every)))
    assert [router.score(one.prompt) for one in some] == pytest.approx(list(scores), abs=1e-4)


@pytest.mark.parametrize("by", ["length", "chance"])
def test_labels_that_words_do_not_explain_make_none(by: str, tmp_path: Path) -> None:
    """The interval of the difference includes zero: nothing is written, an older file stays."""
    file = tmp_path / "router.json"
    file.write_text("older")
    code, out, err = run("-", "-o", str(file), given=lines(labels(200, by)))
    assert code == 1
    assert "AUC of length alone" in out
    assert "nothing is written" in err
    assert [one.name for one in tmp_path.iterdir()] == ["router.json"]
    assert file.read_text() == "older"


def test_near_duplicates_are_never_learned_and_judged_at_once() -> None:
    """Labels by chance, each prompt ten times: a fit that had seen a twin would know them all."""
    some = [
        Label(f"{one.prompt.upper()}  {number}", one.is_complex)
        for one in labels(60, "chance")
        for number in range(10)
    ]
    table = Table.of(some)
    assert table.groups.max() + 1 == 60
    auc = Ranked(unseen_logits(table, 5, 0), table.is_complex).auc(np.ones(len(some)))
    assert auc < 0.7


def test_a_bucket_of_few_prompts_has_no_weight() -> None:
    """What fewer than five distinct prompts hold leaves no trace, however often it is repeated."""
    plain = labels(100, "chance")
    rare = [Label(f"{SECRET} {SECRET}{'!' * number}", True) for number in range(3)]
    with_rare = [*plain, *(one for one in rare for _ in range(9))]
    table = Table.of(with_rare)
    weights = fit(table, np.arange(len(with_rare))).bucket_weights
    known = set(Table.of(plain).bags.indices)
    only_rare = set(Table.of(rare).bags.indices) - known
    assert only_rare
    assert [weights[bucket] for bucket in only_rare] == [0.0] * len(only_rare)


def test_the_auc_is_the_share_of_pairs_in_order() -> None:
    """A tie is half; weights count as repeats; without one class there is none."""
    rng = random.Random(1)
    scores = np.array([float(rng.randint(0, 5)) for _ in range(40)])
    truth = np.array([rng.random() < 0.5 for _ in range(40)])
    weights = np.array([float(rng.randint(0, 3)) for _ in range(40)])
    pairs = right = 0.0
    for first in np.flatnonzero(truth):
        for second in np.flatnonzero(~truth):
            both = weights[first] * weights[second]
            pairs += both
            right += both * (
                (scores[first] > scores[second]) + (scores[first] == scores[second]) / 2
            )
    assert Ranked(scores, truth).auc(weights) == pytest.approx(right / pairs)
    assert np.isnan(Ranked(scores, np.ones(40, bool)).auc(weights))


def test_the_table_of_shares_takes_ties_as_chance_would() -> None:
    """Of scores that say nothing, a tenth of the prompts holds a tenth of the complex ones."""
    table = Table.of(labels(100, "chance"))
    assert found_of(np.zeros(100), table, 0.1)[1] == pytest.approx(0.1)
    assert found_of(table.is_complex.astype(float), table, 0.99)[1] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is no JSON object"),
        ("[1]", "is no JSON object"),
        ("[" * 100_000, "is no JSON object"),
        ('{"prompt": "x"}', "`complex` is missing"),
        ('{"prompt": "", "complex": true}', "`prompt` is no text"),
        ('{"prompt": 3, "complex": true}', "`prompt` is no text"),
        ('{"prompt": "x", "complex": "maybe"}', "`complex` is neither true nor false"),
        ('{"prompt": "x", "complex": null}', "`complex` is neither true nor false"),
        ('{"prompt": "x", "complex": 2}', "`complex` is neither true nor false"),
        ('{"prompt": "x", "complex": true, "label": 0}', "do not agree"),
    ],
    ids=range(10),
)
def test_a_bad_line_is_named(line: str, said: str) -> None:
    """By its number, never by what is in it."""
    text = '{"prompt": "Hello", "complex": false}\n\n' + line
    with pytest.raises(InvalidRequest, match=f"^log.jsonl line 3: {said}|line 3: .*{said}"):
        read_labels(text, "log.jsonl")


def test_labels_have_several_spellings() -> None:
    """`label` for `complex`; 0 and 1, simple and complex; more fields are left out."""
    some = labels(100, "chance")
    values = {True: [True, 1, "complex"], False: [False, 0, "Simple"]}
    text = "\n".join(
        json.dumps({"prompt": one.prompt, "label": values[one.is_complex][number % 3], "more": 1})
        for number, one in enumerate(some)
    )
    assert read_labels(text, "x") == some


@pytest.mark.parametrize("number", [0, 30, 400])
def test_few_labels_or_one_class_say_nothing(number: int) -> None:
    """Duplicates do not make more of them."""
    same = [Label("Hello", False)] * 300 + [Label("Prove it", True)] * 300
    only_simple = [Label(one.prompt, False) for one in labels(number, "chance")]
    for some in (only_simple, same):
        with pytest.raises(InvalidRequest, match="distinct prompts are complex"):
            read_labels(lines(some), "log.jsonl")


def test_what_the_command_cannot_do_is_said_before_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such folder, no such file; without scikit-learn how to get it."""
    with pytest.raises(InvalidRequest, match="no such folder"):
        run("-", "-o", str(tmp_path / "none" / "router.json"))
    with pytest.raises(InvalidRequest, match="No such file"):
        run(str(tmp_path / "none.jsonl"), "-o", str(tmp_path / "router.json"))
    for name in ("fitted_router", "fitting", "judging"):
        monkeypatch.delitem(sys.modules, f"{route_fit.__name__}.{name}")
        monkeypatch.delattr(route_fit, name)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InvalidRequest, match="needs the package sklearn") as caught:
        run("-", "-o", str(tmp_path / "r.json"), given=lines(labels(100, "chance")))
    assert caught.value.hint == "pip install 'local-llm-service[route]'"


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace"])
def test_a_disk_that_takes_no_more_leaves_the_older_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half written stays, and the exit code says so."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, full)
    file = tmp_path / "router.json"
    file.write_text("older")
    code, _, err = run("-", "-o", str(file), given=lines(labels(300, "words")))
    assert code == 6
    assert "No space left on device" in err
    assert [one.read_text() for one in tmp_path.iterdir()] == ["older"]
