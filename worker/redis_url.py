"""REDIS_URL and its rule: what redis-py, kombu and Celery all read in the same way.

Each of them takes other options behind the `?`, and fails with a TypeError for the rest.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: The options of `rediss://`: how to check the server's certificate, and what to show it.
TLS_OPTIONS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: Values of ssl_cert_reqs; the longer ones are kombu's.
_CHECKS: Final = {
    **{word: word for word in ("required", "optional", "none")},
    **{f"CERT_{word.upper()}": word for word in ("required", "optional", "none")},
}
#: Options that have a place of their own in a URL.
_ELSEWHERE: Final = {
    "db": "give the number of the database as the path, redis://host:6379/1",
    "virtual_host": "give the number of the database as the path, redis://host:6379/1",
    "username": "give the login before the host, redis://user:password@host:6379/0",
    "password": "give the login before the host, redis://:password@host:6379/0",
}


def check_redis_url(url: str) -> str:
    """Return `url` as all three read it, or raise ValueError, which never holds a value of it.

    A `rediss://` without ssl_cert_reqs checks the certificate, as redis-py does by itself.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = TLS_OPTIONS if parts.scheme == "rediss" else ()
    for name in options:
        if name not in known:
            raise ValueError(_refusal(name, parts.scheme))
    if parts.scheme != "rediss":
        return url
    check = _CHECKS.get(options.get("ssl_cert_reqs", "required"))
    if check is None:
        raise ValueError("ssl_cert_reqs must be required, optional or none")
    return urlunsplit(parts._replace(query=urlencode({**options, "ssl_cert_reqs": check})))


def _refusal(name: str, scheme: str) -> str:
    if name in _ELSEWHERE:
        return f"option {name}: {_ELSEWHERE[name]}"
    if name in TLS_OPTIONS:
        return f"option {name}: is for rediss:// only"
    allowed = f"only {', '.join(TLS_OPTIONS)}" if scheme == "rediss" else "none"
    shown = name if name.isidentifier() else "behind the ?"
    return f"option {shown}: is not known; {scheme}:// takes {allowed}"
