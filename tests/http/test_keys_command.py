"""`local-llm keys`: in Redis and in a file alike."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.producers.cli import main
from local_llm_service.producers.cli.output import Exit
from local_llm_service.producers.http import app
from local_llm_service.producers.http.callers import caller as callers
from local_llm_service.producers.http.callers.key_store import key_store
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import InvalidRequest, InvalidSetting
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.api_keys import ApiKey
from tests.http.api_keys import bearer, operate
from tests.http.conftest import HttpSite, http_site


@pytest.fixture(params=["redis", "file"])
def where(request: pytest.FixtureRequest, local_llm: LocalLLM, tmp_path: Path) -> list[str]:
    """The option that says where the keys are."""
    return [] if request.param == "redis" else ["--file", str(tmp_path / "keys.json")]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """The exit code of a command and the JSON that it prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["keys", *words, "--json"])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_the_life_of_a_key(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Made, listed, rotated, revoked, dropped; made again once revoked."""
    given = ("--tenant", "acme", "--ceiling", "normal", "--rate", "60/m", "--concurrency", "8")
    code, made = run(capsys, "add", "web", *given, "--streams", "5", "--expires", "90d",
                     "--keep-local", *where)  # fmt: skip
    assert code == Exit.ANSWER
    assert made.pop("key").startswith(f"llm_{made['id']}_")
    _, [listed] = run(capsys, "list", *where)
    assert listed == made
    assert listed | {"created": "", "expires": "", "id": ""} == {
        "name": "web", "tenant": "acme", "ceiling": "normal", "rate": "60/m", "concurrency": 8,
        "streams": 5, "keep_local": True, "state": "active", "created": "", "expires": "", "id": "",
    }  # fmt: skip
    code, told = run(capsys, "add", "web", *where)
    assert (code, told["error"]["message"]) == (2, "NAME: there is a key of this name")
    _, rotated = run(capsys, "rotate", "web", "--grace", "60", *where)
    assert (rotated["state"], rotated["id"]) == ("rotating", made["id"])
    assert run(capsys, "drop", "web", *where)[0] == Exit.BAD_INPUT
    assert run(capsys, "revoke", "web", *where) == (0, {"revoked": "web"})
    assert run(capsys, "list", *where)[1][0]["state"] == "revoked"
    assert run(capsys, "rotate", "web", *where)[0] == Exit.BAD_INPUT
    assert run(capsys, "add", "web", *where)[1]["tenant"] == "web"
    run(capsys, "revoke", "web", *where)
    assert run(capsys, "drop", "web", *where) == (0, {"dropped": "web"})
    assert run(capsys, "list", *where) == (0, [])
    for command in ("revoke", "rotate", "drop"):
        assert run(capsys, command, "web", *where)[0] == Exit.UNKNOWN_ID


def test_a_key_alone_is_on_stdout(local_llm: LocalLLM, capsys: pytest.CaptureFixture[str]) -> None:
    """`KEY=$(local-llm keys add web)`."""
    with pytest.raises(SystemExit):
        main(["keys", "add", "web"])
    said = capsys.readouterr()
    assert len(said.out.split()) == 1
    assert "only time" in said.err
    assert "web  active  tenant web  ceiling high" in operate("list")


WRONG = [
    ("add", ""),
    ("add", "Web"),
    ("add", "a" * 61),
    ("add", "a b"),
    ("add", "é"),
    ("add", "a\n"),
    ("add", "a", "--tenant", "a/b"),
    ("add", "a", "--ceiling", "urgent"),
    ("add", "a", "--rate", "60"),
    ("add", "a", "--rate", "0/m"),
    ("add", "a", "--rate", "9999999/s"),
    ("add", "a", "--rate", "６/m"),
    ("add", "a", "--concurrency", "0"),
    ("add", "a", "--concurrency", "1001"),
    ("add", "a", "--expires", "2001-01-01"),
    ("add", "a", "--expires", "soon"),
    ("rotate", "a", "--grace", "-1"),
    ("rotate", "a", "--grace", "inf"),
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_words(
    words: tuple[str, ...], local_llm: LocalLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told at once, and nothing is made."""
    assert run(capsys, *words)[0] == Exit.BAD_INPUT
    assert run(capsys, "list") == (0, [])


def test_without_redis(local_llm: LocalLLM, capsys: pytest.CaptureFixture[str]) -> None:
    with local_llm.redis_away():
        assert run(capsys, "add", "web")[0] == Exit.UNREACHABLE


def test_a_tenant_that_another_would_take_for_itself(
    where: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids hold 10 digits of the tenant's name; should they ever be the same, no key is made."""
    monkeypatch.setattr(callers.Caller, "tag", "0123456789")
    operate("add", "a1", "--tenant", "a", *where)
    operate("add", "a2", "--tenant", "a", *where)
    with pytest.raises(InvalidRequest, match="too like"):
        operate("add", "b", *where)


def test_many_keys_at_once(where: list[str]) -> None:
    """None is lost, and of one name there is one."""
    path = where[1] if where else None
    done: list[bool] = []

    def write(number: int) -> None:
        key, _ = ApiKey(name=f"key-{number // 2}", tenant="t").with_new_secret(0)
        done.append(key_store(path).write(key.key_id, "", key.as_text()))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == [False] * 6 + [True] * 6
    assert len(key_store(path).records()) == 6


# --- a file -----------------------------------------------------------------------------------


def test_http_reads_the_file_as_soon_as_it_has_changed(
    local_llm: LocalLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file nobody is anonymous, keys in Redis do not count, and half a file changes
    nothing."""
    path = tmp_path / "keys.json"
    in_redis = bearer(operate("add", "in-redis"))
    with _site_with_file(monkeypatch, path) as http:
        assert _asked(http, {}) == _asked(http, in_redis) == 401
        first = bearer(operate("add", "first", "--rate", "9/m", "--file", str(path)))
        assert path.stat().st_mode & 0o777 == 0o600
        assert [_asked(http, one) for one in (first, in_redis, {})] == [200, 401, 401]
        whole = path.read_bytes()
        for broken in (whole[:-9], b"", b"{}", b"[]", b"\xff", b'{"keys": [{"name": 1}]}'):
            path.write_bytes(broken)
            assert [_asked(http, first), _asked(http, {})] == [200, 401]
        path.unlink()
        assert _asked(http, first) == 401, "no file has no keys"
        path.write_bytes(whole)
        assert _asked(http, first) == 200
        operate("revoke", "first", "--file", str(path))
        assert _asked(http, first) == 401
        path.write_bytes(whole[:-9])
        with pytest.raises(InvalidSetting):
            operate("list", "--file", str(path))
    assert {one.name for one in tmp_path.iterdir()} == {"keys.json", "keys.json.lock"}


def _site_with_file(monkeypatch: pytest.MonkeyPatch, path: Path) -> Any:
    given = get_settings().model_copy(update={"api_keys_file": str(path)})
    monkeypatch.setattr(app, "lazy_settings", lambda: given)
    return http_site()


def _asked(http: HttpSite, headers: dict[str, str]) -> int:
    return http.get("/models", headers=headers).status_code
