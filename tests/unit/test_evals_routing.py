"""`python -m evals routing`: its tables say what the records and labels say, and no more."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.frame.bootstrap import Interval
from evals.frame.eval_set import OURS, Outcome, Score, Spent
from evals.frame.records import Record, Subject
from evals.frame.tables import Results
from evals.routing.claims import claims_table
from evals.routing.command import EXAMPLE_LOG, parse
from evals.routing.evaluation import offline_tables
from evals.routing.log import LogUnusable, Query, read_log
from evals.routing.paid_model import Billed, PaidModel, tokens_of
from evals.routing.policies import Labelled, beside, difference
from evals.routing.route_set import (
    ALL_LOCAL,
    ALL_PAID,
    AT_HOME,
    CONTEXT,
    ESCALATED,
    LEDGER,
    LOST,
    TOKENS_LOST,
    USD,
    Order,
    route_set,
)
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.price import Price

ORDER = Order(Price(Decimal("2.5"), Decimal(10)))


def written(folder: Path, *lines: Any) -> Path:
    """A log of these lines."""
    path = folder / "log.jsonl"
    texts = (one if isinstance(one, str) else json.dumps(one) for one in lines)
    path.write_text("\n".join(texts))
    return path


def queries(number: int, right: Callable[[int], bool]) -> list[Query]:
    """Labelled queries of growing length; the paid model is always right."""
    return [
        Query(str(at), "x" * (4 * at + 4), local_right=float(right(at)), remote_right=1.0)
        for at in range(number)
    ]


def test_a_log_has_each_query_once(tmp_path: Path) -> None:
    """With what is known of it: `complex` says what each model would get right."""
    log = written(
        tmp_path,
        {"prompt": "Hello", "complex": True, "more": [1]},
        {"prompt": "Hello"},
        "",
        {"prompt": "Hello", "context": "It is.", "expected": "it"},
        {"prompt": "Bye", "local_right": 0.5, "remote_right": 0.75},
    )
    first, second, third = read_log(log)
    assert (first.local_right, first.remote_right, first.context) == (0.0, 1.0, None)
    assert (second.expected, second.context, second.is_labelled) == (("it",), "It is.", False)
    assert (third.local_right, third.remote_right, third.is_labelled) == (0.5, 0.75, True)
    assert len({first.key, second.key, third.key}) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "line 2: is no JSON object"),
        ({"prompt": " "}, "line 2: `prompt` is no text"),
        ({"prompt": "x", "context": 3}, "`context` is no text"),
        ({"prompt": "x", "expected": [3]}, "`expected` is neither"),
        ({"prompt": "x", "complex": "yes"}, "`complex` is neither"),
        ({"prompt": "x", "local_right": 1.5}, "`local_right` is neither"),
    ],
    ids=range(6),
)
def test_a_bad_line_is_named_by_its_number(line: Any, said: str, tmp_path: Path) -> None:
    """Never by what is in it."""
    with pytest.raises(LogUnusable, match=said):
        read_log(written(tmp_path, {"prompt": "Hello"}, line))


def test_a_log_without_queries_is_none(tmp_path: Path) -> None:
    """Nor one that is not there, or not UTF-8."""
    with pytest.raises(LogUnusable, match="holds no query"):
        read_log(written(tmp_path, "", ""))
    with pytest.raises(LogUnusable, match="No such file"):
        read_log(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "Grüße"}'.encode("latin-1"))
    with pytest.raises(LogUnusable, match="not UTF-8"):
        read_log(tmp_path / "latin.jsonl")


def test_the_example_log_has_labels_and_contexts() -> None:
    """Sixty queries that make tables of every sort."""
    log = read_log(EXAMPLE_LOG)
    assert len(log) == 60
    assert all(one.is_labelled for one in log)
    assert sum(one.context is not None for one in log) == 12


def test_the_simulated_paid_model_bills_to_the_token() -> None:
    """A token for four bytes; an answer as long as it is told, but no longer than it may be."""
    paid = PaidModel("http://paid.invalid/v1", answer_tokens=50)
    paid.expect("Oslo")
    message = {"role": "user", "content": "a" * 400}
    text, first = paid.answer({"messages": [message]})
    _, second = paid.answer({"messages": [message], "max_tokens": 20})
    assert text == "Oslo"
    assert (first.prompt_tokens, first.completion_tokens) == (108, 50)
    assert second.completion_tokens == 20
    assert paid.take_bill() == first + second
    assert paid.take_bill() == Billed()
    assert tokens_of("漢字") == 2


def test_the_money_goes_to_the_highest_scores_first() -> None:
    """As long as it lasts: what follows is not sent, though it would be cheap."""
    labelled = Labelled.of(queries(4, lambda at: False), [4.0, 1.0, 4.0, 1.0])
    sent = labelled.chosen(np.array([0.9, 0.8, 0.7, 0.6]), 0.5)
    assert list(sent) == [True, True, False, False]
    assert list(labelled.chosen(np.array([1.0, 1.0, 1.0, 1.0]), 1.0)) == [True] * 4
    assert list(labelled.chosen(np.array([1.0, 1.0, 1.0, 1.0]), 0.0)) == [False] * 4


def test_a_perfect_way_to_choose_is_apart_from_length_and_chance() -> None:
    """And length from itself never is."""
    rng = random.Random(5)
    hard = [rng.random() < 0.4 for _ in range(400)]
    some = queries(400, lambda at: not hard[at])
    labelled, lengths = Labelled.of(some, [1.0] * 400), np.arange(400.0)
    one = beside(labelled, np.array(hard, float), lengths, 0.3)
    assert one.sent == pytest.approx(0.3)
    assert one.accuracy == pytest.approx(labelled.local.mean() + 0.3)
    assert one.to_length.low > 0.05
    assert one.to_random.low > 0.05
    same = beside(labelled, lengths, lengths, 0.3)
    assert same.to_length == Interval(0.0, 0.0, 0.0)
    assert same.to_random.low < 0 < same.to_random.high


def test_the_interval_is_that_of_a_mean() -> None:
    """Against the textbook's one, of many queries."""
    rng = np.random.default_rng(3)
    first, second = (rng.random(3000) < 0.6).astype(float), np.full(3000, 0.5)
    found = difference(first, second)
    half = 1.96 * float((first - second).std()) / 3000**0.5
    assert found.value == pytest.approx(float((first - second).mean()))
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def offline(*words: str) -> str:
    """The tables that need no model."""
    return offline_tables(parse([*words, "--offline"]))


def test_labels_make_a_table_without_any_model(tmp_path: Path) -> None:
    """Each way to choose at each cost; labels of another file stand beside the log."""
    log = written(tmp_path, {"prompt": "Hello"})
    assert "20 queries with labels are the least" in offline(str(log))
    text = offline(str(log), "--labels", str(EXAMPLE_LOG))
    assert "60 labelled queries. Everything local: 60.0% right" in text
    assert text.count("| length alone |") == 5
    assert text.count("| length and structure |") == 5
    assert text.count("| fitted on other labels |") == 5


def test_a_router_of_ones_own_is_one_of_the_ways() -> None:
    """Named as ROUTER names it."""
    path = "local_llm_service.tasks.routing.complexity:classify"
    assert "| the router that was given |" not in offline("--router", path)  # it is the default
    own = f"{__name__}:by_last_letter"
    assert "| the router that was given |" in offline("--router", own)


@pytest.mark.parametrize("path", ["none:none", "os:none", "os:getcwd", "os"])
def test_a_router_that_cannot_be_used_is_refused(path: str) -> None:
    """Before any model is asked."""
    with pytest.raises(InvalidSetting, match="cannot be used"):
        offline("--router", path)


def test_the_file_of_a_router_goes_to_the_worker_with_its_function(tmp_path: Path) -> None:
    """A file alone means the fitted router, there as in the tables; a broken one is refused."""
    file = tmp_path / "router.json"
    file.write_text("{}")
    settings = parse(["--router-file", str(file)]).order.worker(tmp_path / "engines.json")
    assert settings["ROUTER"] == "local_llm_service.tasks.routing.fitted:classify"
    assert settings["ROUTER_FILE"] == str(file)
    with pytest.raises(InvalidSetting, match="is not a router's file"):
        offline("--router-file", str(file))


def by_last_letter(prompt: str) -> Any:
    """A router of one's own."""
    from local_llm_service.tasks.routing.complexity import Verdict

    return Verdict(prompt.endswith("?"), float(prompt.endswith("?")))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.jsonl"], "No such file"),
        (["--price-in", "cheap", "--price-out", "1"], "US dollars"),
        (["--price-in", "1", "--price-out", "-1"], "US dollars"),
        (["--price-in", "1"], "go together"),
        (["--paid-model", "nobodys"], "no price of 'nobodys' is known"),
        (["--complex-from", "2"], "from 0 to 1"),
        (["--limit", "0"], "1 or more"),
        (["--budget", "lots"], "5/day"),
        (["--router-file", "none.json"], "is no file"),
        (["--out", "/none/report.md"], "cannot be written"),
    ],
    ids=range(10),
)
def test_bad_words_end_with_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def outcome(at_home: bool, usd: float, sent: tuple[float, float] = (0, 0)) -> Outcome:
    """What one side made of a query."""
    return Outcome(
        {
            AT_HOME.name: Score(float(at_home)),
            USD.name: Score(usd),
            CONTEXT.name: Score(*sent),
            ESCALATED.name: Score(0.0),
            LOST.name: Score(0.0),
            LEDGER.name: Score(usd),
            TOKENS_LOST.name: Score(0.0),
        },
        Spent(10, 5, 1.0),
        "simple prompt" if at_home else "complex prompt",
    )


def results_of(ours: Sequence[Outcome], paid: Sequence[Outcome]) -> Results:
    """Both sides' records."""
    paid_model = PaidModel("http://paid.invalid/v1", 200)
    one = route_set(queries(len(ours), lambda _: True), ORDER, paid_model, {})
    items = list(one.items(None))  # type: ignore[arg-type]
    subject = Subject("m", "d", "e", 1)
    records = [
        Record(subject, "routing", "1", item.key, "", side, made)
        for side, some in ((OURS, ours), (ALL_PAID, paid))
        for item, made in zip(items, some, strict=True)
    ]
    return Results.of(one, items, records)


def test_each_claim_stands_beside_what_was_measured() -> None:
    """80 of 100 stay, so 80 % is saved; contexts of 1,000 tokens become 200."""
    ours = [
        outcome(at < 80, 0.0 if at < 80 else 1.0, (0, 0) if at < 80 else (200, 1000))
        for at in range(100)
    ]
    text = claims_table(results_of(ours, [outcome(False, 1.0)] * 100), ORDER)
    local, cheaper, context = (line for line in text.splitlines() if " | 80.0 % [" in line)
    assert local.startswith("| queries answered locally | 60 % |")
    assert local.endswith("| reached |")
    assert cheaper.startswith("| cheaper than everything to the paid model | 74 % |")
    assert cheaper.endswith("| not apart from it |")
    assert "[80.0, 80.0]: 1,000 tokens to 200, of 20 | **not reproduced** |" in context
    assert "| simple prompt | 80 |" in text


def test_a_claim_that_fails_is_called_so() -> None:
    """Nothing stays, nothing is saved; a query without an answer counts for neither side."""
    failed = Outcome({}, Spent(), failure="timeout")
    ours = [*[outcome(False, 1.0)] * 50, failed]
    text = claims_table(results_of(ours, [outcome(False, 1.0)] * 51), ORDER)
    assert "| 60 % | 0.0 % [0.0, 0.0] | **not reproduced** |" in text
    assert "| 74 % | 0.0 % [0.0, 0.0] | **not reproduced** |" in text
    assert "| failed | timeout 1 |" in text
    assert "50 distinct queries" in text
    assert claims_table(results_of([failed], [failed]), ORDER) == "No query was answered yet."


def test_everything_local_is_asked_only_where_the_log_says_what_is_right() -> None:
    """Else it would take time and say nothing."""
    paid = PaidModel("http://paid.invalid/v1", 200)
    without = route_set([Query("a", "x")], ORDER, paid, {})
    with_it = route_set([Query("a", "x", expected=("y",))], ORDER, paid, {})
    assert (ALL_LOCAL in without.baselines, ALL_LOCAL in with_it.baselines) == (False, True)


def test_another_order_makes_other_records(tmp_path: Path) -> None:
    """Also a router's file that was fitted anew."""
    file = tmp_path / "router.json"
    file.write_text("1")
    first = Order(ORDER.price, router_file=str(file)).version
    file.write_text("2")
    versions = {first, Order(ORDER.price, router_file=str(file)).version, ORDER.version}
    assert len(versions | {Order(ORDER.price, complex_from=0.3).version}) == 4
    assert ORDER.version == Order(Price(Decimal("2.5"), Decimal(10))).version
