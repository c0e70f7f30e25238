"""A worker's two models as servers: `fake:1b` at home, and `large` in another house, which keeps
every byte that it is sent. Markers in what is sent tell what home does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.openai_server import OpenAiServer, Reply, words

#: What either model writes: an answer of every kind.
ANSWER = '{"city": "Bern"}'
_BAD_JSON = "The city is, as far as I know"
#: What a prompt can make of the model at home, by a word in it.
TROUBLES: Mapping[str, Script] = {
    "FINE": Script(words(ANSWER)),
    "SLOWLY": Script(words(ANSWER), pause_seconds=0.4),
    "BREAKS": Script(words(_BAD_JSON)),
    "EMPTY": Script(("",)),
    "CUT": Script(words(_BAD_JSON), done_reason="length"),
    "REFUSES": Script(words("I'm sorry, but I can't help with that.")),
    "LOOPS": Script(words("It is Bern. " * 30)),
    "FULL": Script(status=400, error="the input length exceeds the context length"),
    "FAILS": Script(status=500, error="it does not work"),
    "BUSY": Script(status=503, error="server busy, please try again"),
    "GONE": Script(status=404, error="model 'fake:1b' not found"),
    "CUTS OFF": Script(words(_BAD_JSON), end="cut"),
    "UNSURE": Script((ANSWER,), logprobs=({"token": ANSWER, "logprob": -9.0, "bytes": None},)),
}


@dataclass
class TwoHouses:
    """Both servers, and the file that names them. Routes: `auto`, `hard` (all is complex), `picky`
    (any answer of home's is unsure). The tenant `hr` keeps all at home."""

    home: FakeOllama
    abroad: OpenAiServer
    environment: dict[str, str]

    def sent_abroad(self) -> str:
        """All that has reached the other house: bodies, headers and paths."""
        seen = [*self.abroad.requests, *self.abroad.embedded]
        return json.dumps([[one.body, dict(one.headers)] for one in seen] + [self.abroad.asked])

    def sent_home(self) -> str:
        """The same of the model at home."""
        seen = [*self.home.seen, *self.home.embedded, *self.home.counted]
        return json.dumps([one.body for one in seen])


def _respond(body: dict[str, Any]) -> Script:
    asked = "\n".join(str(one.get("content")) for one in body["messages"])
    found = [word for word in TROUBLES if word in asked]
    if "summarize" in asked and "RAW" in asked:
        return Script(words("MADE AT HOME, it is short."))
    return TROUBLES[max(found, key=len)] if found else TROUBLES["FINE"]


@contextmanager
def two_houses(folder: Path) -> Iterator[TwoHouses]:
    """Both servers, until the end of the block."""
    with (
        FakeOllama(_respond) as home,
        OpenAiServer(respond=lambda _: Reply(words(ANSWER))) as abroad,
    ):
        path = folder / "engines.json"
        path.write_text(json.dumps(_file(home, abroad)))
        environment = {
            "ENGINES_FILE": str(path),
            "MODEL_NAME": "fake:1b",
            "REMOTE_BUDGET_USD": "unlimited",
            "CONCURRENCY": "8",
        }
        yield TwoHouses(home, abroad, environment)


def _file(home: FakeOllama, abroad: OpenAiServer) -> dict[str, Any]:
    large = {
        "name": "large", "aliases": ["big"], "context_tokens": 131_072, "revision": "1",
        "prompt_usd": 1, "completion_usd": 2,
    }  # fmt: skip
    return {
        "local_scopes": ["hr"],
        "engines": [
            {"name": "home", "kind": "ollama", "url": home.host, "slots": 8,
             "models": [{"name": "fake:1b", "aliases": ["small"]}]},
            {"name": "abroad", "kind": "openai_compatible", "url": abroad.url, "slots": 8,
             "leaves_the_house": True, "models": [large]},
        ],
        "routes": [
            {"name": "auto", "local": "fake:1b", "remote": "large"},
            {"name": "hard", "local": "small", "remote": "big", "complex_from": 0},
            {"name": "picky", "local": "fake:1b", "remote": "large", "min_mean_logprob": -0.001},
        ],
    }  # fmt: skip
