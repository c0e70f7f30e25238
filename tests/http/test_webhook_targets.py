"""Where webhooks may go: which URLs there are, what WEBHOOK_ALLOW names, which addresses are open;
and how events are signed and tried again."""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
import threading
from ipaddress import ip_address

import pytest

from local_llm_service.producers.http.webhooks import check_settings, sending
from local_llm_service.producers.http.webhooks.allow_list import AllowList, is_public
from local_llm_service.producers.http.webhooks.delivery import JITTER, SCHEDULE, what_follows
from local_llm_service.producers.http.webhooks.message import Signer
from local_llm_service.producers.http.webhooks.sending import Reply, _request, wait_wanted
from local_llm_service.producers.http.webhooks.target import parse_target
from local_llm_service.worker.errors import InvalidRequest, InvalidSetting
from local_llm_service.worker.settings import Settings

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.mark.parametrize(
    ("url", "host", "port", "rest"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/"),
        ("HTTP://Hooks.Example.com/a/b?c=d&e=%20", "hooks.example.com", 80, "/a/b?c=d&e=%20"),
        ("https://xn--bcher-kva.example:8443/", "xn--bcher-kva.example", 8443, "/"),
        ("http://my_hooks/T0/B0?x=/?", "my_hooks", 80, "/T0/B0?x=/?"),
        ("http://10.1.2.3:9000/", "10.1.2.3", 9000, "/"),
        ("http://[2606:4700:0::1111]:1/", "2606:4700::1111", 1, "/"),
        ("http://[::ffff:10.0.0.1]/", "10.0.0.1", 80, "/"),
    ],
)
def test_a_url_is_taken_apart_and_put_together_again(
    url: str, host: str, port: int, rest: str
) -> None:
    """What is connected to, and asked for, is what was checked."""
    target = parse_target(url)
    assert (target.host, target.port) == (host, port)
    first, named, *_ = _request(target, b"", {}).decode().split("\r\n")
    assert first == f"POST {rest} HTTP/1.1"
    shown = f"[{host}]" if ":" in host else host
    assert named == f"Host: {shown}" + ("" if port in (80, 443) else f":{port}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/path",
        "//hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:hooks.example.com",
        "http:///path",
        "http://user@hooks.example.com/",
        "http://user:secret@hooks.example.com/",
        "http://hooks.example.com@127.0.0.1/",
        "http://127.0.0.1\\@hooks.example.com/",
        "http://hooks.example.com\\.evil.example/",
        "http://hooks.example.com#@127.0.0.1/",
        "http://hooks.example.com/#fragment",
        "http://hooks.example.com:0/",
        "http://hooks.example.com:65536/",
        "http://hooks.example.com:/",
        "http://hooks.example.com:+80/",
        "http://hooks.example.com:８０/",
        "http://hooks.example.com./",
        "http://hooks..example.com/",
        "http://.example.com/",
        "http://-hooks.example.com/",
        "http://" + "a" * 64 + ".example.com/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.0x1/",
        "http://127.0.0.01/",
        "http://0/",
        "http://256.1.1.1/",
        "http://1.2.3.4.5/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[::1%25eth0]/",
        "http://[v1.x]/",
        "http://[1.2.3.4]/",
        "http://①②⑦.⓪.⓪.①/",
        "http://bücher.example/",
        "http://hooks。example.com/",
        "http://hooks.example.com/p\u00e4th",
        "http://hooks.example.com/a b",
        "http://hooks.example.com/\r\nHost: evil",
        "http://hooks.example.com/\x00",
        " http://hooks.example.com/",
        "http://hooks.example.com/\n",
        "http://hooks.example.com/" + "a" * 2000,
        "http://%31%32%37.0.0.1/",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    """By one error that names the field and shows nothing of the URL."""
    with pytest.raises(InvalidRequest) as refused:
        parse_target(url)
    assert refused.value.message.startswith("webhook: ")
    assert "127" not in refused.value.message
    assert "secret" not in str(refused.value.args)


ALLOW = (
    "Hooks.example.com, [fd00::/8]  api.example.com:8443,*.wide.example,10.0.0.5:9000"
    " 192.168.0.0/16"
)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://hooks.example.com/", True),
        ("https://hooks.example.com:9/", True),
        ("https://evil-hooks.example.com/", False),
        ("https://hooks.example.com.evil.example/", False),
        ("https://api.example.com:8443/", True),
        ("https://api.example.com/", False),
        ("https://a.b.wide.example/", True),
        ("https://wide.example/", False),
        ("https://evilwide.example/", False),
        ("http://10.0.0.5:9000/", True),
        ("http://[::ffff:10.0.0.5]:9000/", True),
        ("http://10.0.0.5/", False),
        ("http://192.168.3.4/", True),
        ("http://[fd12::1]/", True),
        ("http://127.0.0.1/", False),
    ],
)
def test_only_what_webhook_allow_names_is_told(url: str, named: bool) -> None:
    """By name, by the end of a name, by address or network, at one port or any."""
    assert AllowList.of(ALLOW).names(parse_target(url)) is named
    assert not AllowList.of("").names(parse_target(url))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
        *("198.18.0.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1"),
        *("2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
        *("fe80::1", "fec0::1", "ff02::1"),
    ],
)
def test_an_address_that_is_not_of_the_internet_has_to_be_named(address: str) -> None:
    """Also where it is wrapped in another one."""
    assert not AllowList.of("hooks.example.com").opens(ip_address(address), 80)
    assert AllowList.of(f"hooks.example.com [{address}]").opens(ip_address(address), 80)
    assert not AllowList.of(f"[{address}]:81").opens(ip_address(address), 80)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_the_addresses_of_the_internet_are_open(address: str) -> None:
    """A host's name is named; its public addresses need not be."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("webhook_allow", "https://hooks.example.com"),
        ("webhook_allow", "hooks.example.com/path"),
        ("webhook_allow", "*"),
        ("webhook_allow", "hooks.*.com"),
        ("webhook_allow", "10.0.0.1/8"),
        ("webhook_allow", "127.1"),
        ("webhook_allow", "hooks.example.com:0"),
        ("webhook_allow", "hooks.example.com:99999"),
        ("webhook_secret", "s3cret"),
        ("webhook_secret", " "),
        ("webhook_secret", "whsec_"),
        ("webhook_secret", "whsec_" + base64.b64encode(b"k" * 23).decode()),
        ("webhook_secret", "whsec_" + base64.b64encode(b"k" * 65).decode()),
        ("webhook_secret", "whsec_*" + SECRET[7:]),
        ("webhook_secret", f"{SECRET} {SECRET[6:]}"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(variable: str, value: str) -> None:
    """And its value is not shown."""
    settings = Settings().model_copy(update={variable: value})
    with pytest.raises(InvalidSetting, match=variable.upper()) as wrong:
        check_settings(settings)
    assert len(value) < 7 or value not in str(wrong.value.args)


def test_each_key_signs_while_keys_are_exchanged() -> None:
    """As Standard Webhooks has it, also where a key lacks its padding."""
    other = b"o" * 24
    headers = Signer.of(f"{SECRET.rstrip('=')}  whsec_{base64.b64encode(other).decode()}").headers(
        "evt_1", 1700000000, b"{}"
    )
    signed = [hmac.digest(key, b"evt_1.1700000000.{}", "sha256") for key in (KEY, other)]
    assert headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signed),
    }


def test_tries_follow_the_schedule_until_there_are_no_more() -> None:
    """0 s, 5 s, 5 min … 24 h: ten tries over three days, each pause up to a tenth longer."""
    for tries, pause in enumerate(SCHEDULE[1:], start=1):
        outcome, seconds = what_follows(tries, Reply("503", 503))
        assert outcome == "again"
        assert pause <= seconds <= pause * (1 + JITTER)
    assert what_follows(len(SCHEDULE), Reply("timeout")) == ("given_up", 0.0)
    assert 3 * 86_400 < sum(SCHEDULE) < 4 * 86_400


@pytest.mark.parametrize(
    ("reply", "outcome", "least"),
    [
        (Reply("200", 200), "delivered", 0),
        (Reply("299", 299), "delivered", 0),
        (Reply("101", 101), "again", 5),
        (Reply("302", 302), "again", 5),
        (Reply("404", 404), "again", 5),
        (Reply("410", 410), "gone", 0),
        (Reply("429", 429, 60.0), "again", 60),
        (Reply("429", 429, 1.0), "again", 5),
        (Reply("503", 503, 1e9), "again", 86_400),
    ],
)
def test_what_a_reply_means(reply: Reply, outcome: str, least: float) -> None:
    """2xx is the end, 410 is the end of all, and whoever says when is asked then, within a day."""
    found, seconds = what_follows(1, reply)
    assert found == outcome
    assert least <= seconds <= max(least, 5.5)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("120", 120, 120),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 1e9, 1e12),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 0),
        ("-1", 0, 0),
        ("soon", 0, 0),
        ("٣", 0, 0),
        ("9" * 5000, 0, 1e9),
        ("", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 0, 1e12),
    ],
)
def test_any_retry_after_can_be_read(text: str, least: float, most: float) -> None:
    """Whatever stands there, the next try has a time."""
    assert least <= wait_wanted(text) <= most


def test_names_that_cannot_be_looked_up_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is away: what serves callers in threads of the loop goes on."""
    let_go = threading.Event()

    def hanging(*_: object, **__: object) -> list[object]:
        let_go.wait(10)
        return []

    async def look_up() -> None:
        names = [f"{number}.example.com" for number in range(40)]  # more than any loop has threads
        looking = [asyncio.create_task(sending.addresses_of(name)) for name in names]
        await asyncio.sleep(0)
        try:
            assert await asyncio.wait_for(asyncio.to_thread(int), 2) == 0
        finally:
            let_go.set()
            await asyncio.gather(*looking)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    asyncio.run(look_up())
