"""REDIS_URL is read in the same way by redis-py, kombu and Celery, or refused with the remedy."""

from __future__ import annotations

import pytest

from local_llm_service.worker.redis_url import check_redis_url
from local_llm_service.worker.settings import Settings


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h/0?protocol=3", "option protocol: is not known"),
        ("redis://h/0?password=secret", "option password: give the login before the host"),
        ("redis://h/0?username=me&password=secret", "option username: give the login"),
        ("redis://h/0?db=2", "option db: give the number of the database as the path"),
        ("redis://h/0?ssl_cert_reqs=none", "option ssl_cert_reqs: is for rediss:// only"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "ssl_cert_reqs must be required, optional or none"),
        ("rediss://h/0?socket_timeout=1", "rediss:// takes only ssl_cert_reqs, ssl_ca_certs"),
        ("redis://:pa?secret@h/0", "option behind the [?]: is not known"),
    ],
)
def test_an_option_that_one_of_the_three_does_not_know_is_refused(url: str, says: str) -> None:
    """Each ended in a TypeError at the first call. The refusal shows no value."""
    with pytest.raises(ValueError, match=says) as caught:
        check_redis_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://user:pw@h:6380/2", "redis://user:pw@h:6380/2"),
        ("rediss://h/0", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "rediss://h/0?ssl_cert_reqs=none"),
        (
            "rediss://h/0?ssl_ca_certs=/etc/ca.pem",
            "rediss://h/0?ssl_ca_certs=%2Fetc%2Fca.pem&ssl_cert_reqs=required",
        ),
    ],
)
def test_the_certificate_is_checked_unless_the_url_says_otherwise(
    url: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery would refuse `rediss://` without the option, and redis-py does not know CERT_NONE."""
    monkeypatch.setenv("REDIS_URL", url)
    assert check_redis_url(url) == Settings().redis_url == read
