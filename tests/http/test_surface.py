"""What every path has in common: methods, odd paths, headers, other web origins."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from local_llm_service.producers.http.app import OPERATIONS
from tests.http.conftest import HttpSite, http_site

ORIGIN = "https://front.example"


@pytest.fixture(scope="module")
def site() -> Iterator[HttpSite]:
    """A server that needs no Redis."""
    with http_site() as made:
        yield made


def raw(site: HttpSite, request: bytes) -> tuple[int, bytes]:
    """What comes back for bytes that no well-behaved client sends."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        reply = b""
        while part := connection.recv(65_536):
            reply += part
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize(
    "path",
    [
        *("/health/", "//health", "//", "/%00", "/Health", "/health%2f", "/assets/", "/nothing"),
        *("/assets/%2e%2e/assets.py", "/assets/..%2fassets.py", "/assets/../assets.py"),
        *("/assets/%00", "/%e2%98", "/.", "/..", "/v1/", "/docs/", "/%2e%2e/%2e%2e/etc/passwd"),
    ],
)
def test_a_path_that_is_none(site: HttpSite, path: str) -> None:
    """404 in the shape of all errors; nothing is taken for another path."""
    request = f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    status, body = raw(site, request.encode())
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


def test_a_method_that_a_path_lacks(site: HttpSite) -> None:
    """405 with Allow, in the same shape; OPTIONS says the same without a body."""
    reply = site.client.patch("/health")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert reply.json()["code"] == "method_not_allowed"
    asked = site.client.options("/health")
    assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_head_is_get_without_a_body(site: HttpSite) -> None:
    """With the same headers."""
    for path in ("/", "/docs", "/openapi.json", "/health/live", "/assets/style.css"):
        head, get = site.client.head(path), site.get(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == get.headers.get(name)


def test_every_reply_has_security_headers(site: HttpSite) -> None:
    """Also errors; a page's policy lets in what comes with it, and nothing else."""
    for path in ("/", "/docs", "/openapi.json", "/assets/page.js", "/health/live", "/nothing"):
        headers = site.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_browsers_keep_the_pages(site: HttpSite) -> None:
    """And ask each time whether they are still the same."""
    first = site.get("/assets/style.css")
    again = site.get("/assets/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_no_web_origin_may_ask_unless_it_is_named(site: HttpSite) -> None:
    """Neither with a preflight nor without: a page in somebody's browser gets no answer."""
    for method in ("OPTIONS", "GET", "POST"):
        asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        reply = site.client.request(method, "/generate", headers=asks)
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in reply.headers
    own = site.get("/health/live", headers={"Origin": site.url})
    assert own.status_code == 200, "the service's own page may"


@pytest.mark.parametrize("origin", ["http://[", "null", "", "//", "https://a]b"])
def test_an_origin_that_is_no_url_is_another_ones(site: HttpSite, origin: str) -> None:
    reply = site.get("/health/live", headers={"Origin": origin})
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


@pytest.mark.local_llm(settings={"cors_origins": ORIGIN})
def test_a_named_web_origin_may_ask(http: HttpSite) -> None:
    """The preflight says what it may send, and the reply that it may be read."""
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight = http.client.options("/generate", headers=asks)
    assert (preflight.status_code, preflight.content) == (204, b"")
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"authorization", "content-type"} <= set(allowed.split(", "))
    reply = http.get("/health/live", headers={"Origin": ORIGIN})
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["vary"] == "Origin"
    other = http.get("/health/live", headers={"Origin": "https://other.example"})
    assert other.status_code == 403


def test_a_strangers_request_id_is_not_taken_over(site: HttpSite) -> None:
    """One that could forge a line of the log or a header gets another."""
    bad = "a b<script>" + "x" * 100
    reply = site.get("/health/live", headers={"X-Request-Id": bad})
    assert reply.headers["x-request-id"] != bad
    assert reply.headers["x-request-id"].isalnum()


def test_every_operation_is_reached_by_its_path(site: HttpSite) -> None:
    """No path hides another one: fixed paths come before those with a parameter."""
    for one in OPERATIONS:
        if "{" in one.path:
            continue
        allowed = site.client.options(one.path).headers["allow"]
        assert one.method in allowed.split(", "), one
