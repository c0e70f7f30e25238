"""ENGINES_FILE: what a fleet is read as, and each mistake, named with its place and no value."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.fleet.fleet import Fleet, concurrency_of
from local_llm_service.worker.settings import Settings
from tests.unit.test_page_examples import blocks
from tests.unit.test_pages import DOCS

KEY = "sk-not-to-be-seen"

#: One engine at home and one elsewhere, with a route over both.
GOOD: dict[str, Any] = {
    "engines": [
        {"name": "home", "kind": "ollama", "url": "127.0.0.1:11434", "slots": 2},
        {
            "name": "away", "kind": "openai_compatible", "url": "https://api.example.com/v1/",
            "api_key_env": "AWAY_KEY", "leaves_the_house": True,
            "models": [
                {"name": "large", "aliases": ["big"], "prompt_usd": 0.15, "completion_usd": 0.6,
                 "context_tokens": 128_000, "revision": "r1", "slots": 3},
            ],
        },
    ],
    "routes": [{"name": "auto", "local": "small:1b", "remote": "big", "complex_from": 0.5}],
    "local_scopes": ["hr"],
}  # fmt: skip

Read = Callable[..., Fleet]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWAY_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The fleet of a file with this content."""

    def read(content: object, name: str = "engines.json", **settings: Any) -> Fleet:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        budget = settings.pop("remote_budget_usd", "unlimited")
        return Fleet.of(Settings(engines_file=str(path), remote_budget_usd=budget, **settings))

    return read


def changed(*path: object, to: object = None) -> dict[str, Any]:
    """GOOD with one value put somewhere; None takes it out."""
    content: Any = copy.deepcopy(GOOD)
    inner = content
    for part in path[:-1]:
        inner = inner[part]
    if to is None:
        del inner[path[-1]]
    elif isinstance(inner, list) and path[-1] == len(inner):
        inner.append(to)
    else:
        inner[path[-1]] = to
    return dict(content)


def test_a_good_file(read: Read) -> None:
    """Engines, models, prices, routes and scopes, as they are written."""
    fleet = read(GOOD)
    home, away = fleet.engines
    assert (home.url, home.slots, home.leaves_the_house, home.models) == (
        "http://127.0.0.1:11434", 2, False, ()
    )  # fmt: skip
    assert (away.url, away.api_key, away.slots) == ("https://api.example.com/v1", KEY, 8)
    assert fleet.leaves_the_house("big")
    assert not fleet.leaves_the_house("auto")
    assert (fleet.own_name("big"), fleet.model_of("auto")) == ("large", "small:1b")
    price = fleet.price("large")
    assert price is not None
    assert price.prompt_usd == Decimal("0.15")
    assert (fleet.local_scopes, fleet.aliases) == (frozenset({"hr"}), {"big": "large"})
    assert away.slots_of("large") == 3
    assert KEY not in repr(fleet)
    assert KEY not in str(away.masked())


def test_the_pages_own_file_is_read(read: Read) -> None:
    """docs/engines.md shows it whole."""
    (example,) = blocks(DOCS / "engines.md", "toml")
    fleet = read(example, "engines.toml", remote_budget_usd="5/day")
    assert [one.name for one in fleet.engines] == ["gpu0", "gpu1", "openai"]
    assert fleet.engines[0].slots_of("llama3.1:8b") == 1
    assert fleet.engines[0].slots_of("other:1b") == 2
    assert fleet.model_of("qwen") == "Qwen/Qwen2.5-14B-Instruct:latest"
    assert fleet.slots == 26


def test_the_slots_of_a_worker(read: Read, tmp_path: Path) -> None:
    """CONCURRENCY counts before the engines' sum; without a file nothing is as it was not."""
    read(GOOD)
    path = str(tmp_path / "engines.json")
    assert concurrency_of(Settings(engines_file=path, remote_budget_usd="unlimited")) == 10
    assert (
        concurrency_of(Settings(engines_file=path, remote_budget_usd="unlimited", concurrency=3))
        == 3
    )
    assert concurrency_of(Settings(ollama_num_parallel=4)) == 4


def test_auto_is_there_without_being_named(read: Read) -> None:
    """As the default model, or as the route that MODEL_NAME names; not where that model leaves."""
    content = changed("routes", 0, "name", to="smart")
    route = read(content, model_name="small:1b").route("auto")
    assert route is not None
    assert (route.local, route.remote) == ("small:1b", None)
    route = read(content, model_name="smart").route("auto")
    assert route is not None
    assert (route.local, route.remote) == ("small:1b", "big")
    assert read(content, model_name="big").route("auto") is None
    without = Fleet.of(Settings(model_name="small:1b"))
    assert [(one.name, one.local) for one in without.routes] == [("auto", "small:1b")]


ENGINE = ("engines", 0)
AWAY = ("engines", 1)
MODEL = (*AWAY, "models", 0)

WRONG: list[tuple[dict[str, Any], str]] = [
    (changed("engines", to=[]), "engines: List should have at least 1 item"),
    (changed("engine", to=[]), "engine: there is no such word here"),
    (changed(*ENGINE, "sk-0123", to="x"), "engines[0].?: there is no such word here"),
    (changed(*ENGINE, "name"), "engines[0].name: Field required"),
    (changed(*ENGINE, "name", to="a b"), "engines[0].name: has characters that are not allowed"),
    (changed(*AWAY, "name", to="home"), "engines[1].name: another engine has this name"),
    (changed(*ENGINE, "kind", to="tgi"), "engines[0].kind: Input should be 'ollama' or"),
    (changed(*ENGINE, "url", to="http://"), "engines[0].url: must be a host, host:port or a URL"),
    (changed(*ENGINE, "url", to="http://h:1/?key=x"), "engines[0].url: must end with its path"),
    (changed(*ENGINE, "url", to="http://h:1/v1"), "engines[0].url: must be the address of the"),
    (
        changed(*AWAY, "url", to="https://api.example.com/v1/chat/completions"),
        "engines[1].url: must be what stands before /chat/completions",
    ),
    (changed(*AWAY, "url", to="api.example.com"), "engines[1].url: must be a URL, for example"),
    (changed(*AWAY, "url", to="http://api.example.com"), "engines[1].url: must begin with https"),
    (changed(*ENGINE, "url", to="http://134744072"), "engines[0].leaves_the_house: must be true"),
    (changed(*ENGINE, "url", to="http://8.8.8.8"), "engines[0].leaves_the_house: must be true"),
    (changed(*ENGINE, "url", to="h.example.com"), "engines[0].leaves_the_house: must be true"),
    (changed(*ENGINE, "slots", to="2"), "engines[0].slots: Input should be a valid integer"),
    (changed(*ENGINE, "slots", to=0), "engines[0].slots: Input should be greater than"),
    (changed(*ENGINE, "slots", to=True), "engines[0].slots: Input should be a valid integer"),
    (changed(*AWAY, "api_key", to=KEY), "engines[1].api_key: a key has no place in this file"),
    (changed(*AWAY, "api_key_env", to="NOT_SET"), "engines[1].api_key_env: the variable is not"),
    (changed(*AWAY, "api_key_env", to=KEY), "engines[1].api_key_env: has characters"),
    (changed(*AWAY, "api_key_file", to="/x"), "api_key_file: give this or api_key_env, not both"),
    (changed(*ENGINE, "api_key_env", to="AWAY_KEY"), "engines[0].api_key_env: an Ollama takes no"),
    (changed(*AWAY, "leaves_the_house"), "engines[1].leaves_the_house: must be true or false"),
    (changed(*AWAY, "models"), "engines[1].models: an engine that leaves the house lists its"),
    (changed(*ENGINE, "model_slots", to="a:1"), "engines[0].model_slots: must be MODEL=SLOTS"),
    (changed(*ENGINE, "model_slots", to={"a": 1}), "engines[0].model_slots: must be text such as"),
    (changed(*ENGINE, "model_slots", to="a=1,a=2"), "model_slots: names a model twice"),
    (changed(*ENGINE, "model_slots", to="a=3"), "model_slots: a model has more slots than its"),
    (changed(*AWAY, "model_slots", to="x=1"), "model_slots: names a model that is not in this"),
    (changed(*AWAY, "model_slots", to="large=1"), "model_slots: names a model that has slots of"),
    (changed(*AWAY, "slots", to=2), "engines[1].models[0].slots: a model has more slots than"),
    (changed(*MODEL, "aliases", to=["large"]), "models[0].aliases: another model of this file"),
    (changed(*MODEL, "aliases", to=["auto"]), "routes[0].name: a model or another route has this"),
    (changed(*MODEL, "aliases", to="big"), "models[0].aliases: Input should be a valid list"),
    (changed(*MODEL, "name", to="a b"), "models[0].name: has characters that are not allowed"),
    (changed(*MODEL, "prompt_usd"), "models[0].prompt_usd and completion_usd: give both"),
    (changed(*MODEL, "prompt_usd", to=-1), "models[0].prompt_usd: Input should be greater than"),
    (changed(*MODEL, "price", to="large"), "models[0].price: give this, or prompt_usd and"),
    (changed(*MODEL, "context_tokens", to=1.5), "models[0].context_tokens: Input should be a"),
    (changed("routes", 0, "local", to="big"), "routes[0].local: this model leaves the house"),
    (changed("routes", 0, "remote", to="small:1b"), "routes[0].remote: no engine of this file"),
    (changed("routes", 0, "local", to="auto"), "routes[0].local: names a route, and must name"),
    (changed("routes", 0, "local", to="qwen:80b-cloud"), "routes[0].local: this model leaves the"),
    (changed("routes", 0, "complex_from", to=2), "routes[0].complex_from: Input should be less"),
    (changed("routes", 0, "remote"), "routes[0]: complex_from and min_mean_logprob need a remote"),
    (changed("routes", 1, to=GOOD["routes"][0]), "routes[1].name: a model or another route has"),
    (changed("local_scopes", to="hr"), "local_scopes: Input should be a valid list"),
    (
        changed("engines", 2, to={**GOOD["engines"][0], "name": "third"}),
        "engines[2].models: list its models; only one engine of a file",
    ),
    (
        changed(*ENGINE, "models", to=[{"name": "small:1b", "context_tokens": 4096}]),
        "engines[0].models[0].context_tokens: Ollama says this itself",
    ),
    (
        changed(*ENGINE, "models", to=[{"name": "small:1b"}, {"name": "gpt:120b-cloud"}]),
        "engines[0].models[1].name: Ollama runs this model on its maker's hardware",
    ),
    (
        changed(*MODEL, to={"name": "large", "aliases": ["big"]}),
        "engines[1].models[0].price: a model that leaves the house needs one",
    ),
]


@pytest.mark.parametrize(("content", "said"), WRONG, ids=[said[:60] for _, said in WRONG])
def test_a_mistake_is_named_with_its_place(read: Read, content: dict[str, Any], said: str) -> None:
    """In one line, which says what is right and shows no value."""
    with pytest.raises(InvalidSetting) as caught:
        read(content)
    message = caught.value.message
    assert said in message
    assert "\n" not in message
    assert KEY not in f"{caught.value!r} {message} {caught.value.__context__!r}"


def test_all_mistakes_are_told_at_once(read: Read) -> None:
    """An operator corrects the file once."""
    content = changed(*ENGINE, "slots", to=0)
    content["engines"][1]["kind"] = "x"
    with pytest.raises(InvalidSetting, match=r"engines\[0\]\.slots: .*; engines\[1\]\.kind: "):
        read(content)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("engines = [", "a.toml", "cannot be read as TOML (at"),
        ('{"engines": [}', "a.json", "cannot be read as JSON (at line 1, column 14)"),
        ('{"engines": NaN}', "a.json", "cannot be read as JSON"),
        ('{"engines": [], "engines": []}', "a.json", "one word twice in an object"),
        ("[" * 100_000, "a.json", "cannot be read as JSON"),
        ("[]", "a.json", "the file: Input should be"),
        ("", "a.yaml", "its name must end in .toml or .json"),
        (" " * 1_100_000, "a.json", "the file: is larger than 1 MiB"),
        (f'key = "{KEY}" "', "a.toml", "cannot be read as TOML"),
    ],
)
def test_what_is_no_such_file(read: Read, text: str, name: str, said: str) -> None:
    """Also in one line and without its text."""
    with pytest.raises(InvalidSetting) as caught:
        read(text, name)
    assert said in caught.value.message
    assert KEY not in repr(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    for path, said in ((tmp_path / "no.toml", "No such file"), (tmp_path, "must end in .toml")):
        with pytest.raises(InvalidSetting, match=said):
            Fleet.of(Settings(engines_file=str(path)))
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(InvalidSetting, match="Is a directory"):
        Fleet.of(Settings(engines_file=str(folder)))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(InvalidSetting, match="is not UTF-8"):
        Fleet.of(Settings(engines_file=str(tmp_path / "latin.toml")))


def test_a_key_of_a_file(read: Read, tmp_path: Path) -> None:
    """With the line end that editors add; not with a second word, and the error shows neither."""
    content = changed(*AWAY, "api_key_env")
    content["engines"][1]["api_key_file"] = str(tmp_path / "key")
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read(content).engines[1].api_key == KEY
    (tmp_path / "key").write_text(f"{KEY} more\n")
    with pytest.raises(InvalidSetting, match=r"engines\[1\]\.api_key_file: must hold one key") as c:
        read(content, "other.json")
    assert KEY not in repr(c.value)


def test_a_price_of_the_table(read: Read, tmp_path: Path) -> None:
    """By the model's name there, ours or the operator's; a name that it has not is told."""
    content = changed(*MODEL, "prompt_usd")
    del content["engines"][1]["models"][0]["completion_usd"]
    content["engines"][1]["models"][0]["price"] = "mine"
    with pytest.raises(InvalidSetting, match=r"models\[0\]\.price: the table of prices has no"):
        read(content)
    (tmp_path / "prices.toml").write_text(
        "[[price]]\nmodel = 'mine'\nprompt_usd = 1\ncompletion_usd = 2\n"
        "source = 'a letter'\nas_of = '2026-11'\n"
    )
    prices_file = str(tmp_path / "prices.toml")
    price = read(content, "priced.json", prices_file=prices_file).price("big")
    assert price is not None
    assert price.completion_usd == 2


@pytest.mark.parametrize(
    "host", ["localhost", "10.1.2.3", "192.168.0.9", "[::1]", "[fd00::1]", "ollama", "gpu.local"]
)
def test_hosts_at_home(read: Read, host: str) -> None:
    """They need not say that nothing leaves the house; they may say that something does."""
    content = changed(*ENGINE, "url", to=f"http://{host}:8000")
    assert not read(content).engines[0].leaves_the_house


def test_a_key_that_no_header_can_hold(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail at the first call."""
    for key in ("two words", "schlüssel"):
        monkeypatch.setenv("AWAY_KEY", key)
        with pytest.raises(InvalidSetting, match=r"api_key_env: the variable is not set, or holds"):
            read(GOOD)


def test_paid_models_need_a_budget(read: Read) -> None:
    """Nobody pays by accident; what costs nothing needs none."""
    with pytest.raises(InvalidSetting, match="set REMOTE_BUDGET_USD, for example to 5/day"):
        read(GOOD, remote_budget_usd=None)
    with pytest.raises(InvalidSetting, match="REMOTE_BUDGET_USD"):
        read(GOOD, remote_budget_usd="a lot")
    free = changed(*MODEL, "prompt_usd", to=0)
    free["engines"][1]["models"][0]["completion_usd"] = 0
    assert read(free, "free.json", remote_budget_usd=None).price("big") is None
