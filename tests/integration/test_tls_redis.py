"""A Redis behind TLS: `rediss://` works, and what goes wrong with it is said."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from tests.doubles.proxy import Proxy
from tests.integration.conftest import run_python

#: Every kind of connection: our own, kombu's, the listener's, and the result backend's.
USE = """
import asyncio
from local_llm_service import AsyncClient, tasks
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
try:
    job = tasks.generate.delay("hi")
    app.backend.fail(job.id, errors.ModelFailed("the answer"))
    job.get(timeout=20, propagate=False)
    print(job.result, job.state)
    print(app.AsyncResult("other").state)
    try:
        app.AsyncResult("other").get(timeout=0.5)
    except Exception as error:
        print(type(error).__name__)
    async def ask():
        async with AsyncClient() as client:
            other = await client.generate("hi", cache=False)
            try:
                return await other.result(0.5)
            except errors.NotReady:
                return await other.status()
    print(asyncio.run(ask()))
except errors.BrokerUnreachable as error:
    print(error.message, error.hint)
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1; its key is beside it."""
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *name],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def address(certificate: Path) -> Iterator[str]:
    """Host and port of a Redis that speaks TLS only. Not every redis-server is built with it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with RedisProcess() as server, Proxy(server.port, tls) as proxy:
        yield f"127.0.0.1:{proxy.port}"


def test_every_connection_speaks_tls(address: str, certificate: Path) -> None:
    """With the authority named, or without a check."""
    for option in (f"ssl_ca_certs={quote(str(certificate), safe='')}", "ssl_cert_reqs=none"):
        done = run_python("-W", "ignore", "-c", USE, REDIS_URL=f"rediss://{address}/0?{option}")
        assert done.stdout.splitlines() == [
            *("the answer FAILURE", "PENDING", "TimeoutError", "queued")
        ], done.stderr


def test_a_certificate_that_is_not_trusted_is_said(address: str) -> None:
    """Not "no answer"; the hint names the option."""
    done = run_python("-c", USE, REDIS_URL=f"rediss://{address}/0")
    assert "no TLS connection (CERTIFICATE_VERIFY_FAILED)" in done.stdout, done.stderr
    assert "ssl_ca_certs" in done.stdout


def test_a_redis_without_tls_is_said() -> None:
    """It takes the handshake for commands and answers nothing that a client understands."""
    with RedisProcess() as plain:
        url = plain.url.replace("redis://", "rediss://")
        done = run_python("-c", USE, REDIS_URL=url)
    assert "no TLS connection" in done.stdout, done.stderr
    assert "rediss://" in done.stdout
