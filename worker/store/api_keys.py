"""API keys: what is kept of them, and the calls (calls.py) that read and write them in Redis.

The text of a key is `llm_<id>_<secret>`. Only the SHA-256 of a secret is kept: it has 256 random
bits, so that no salt and no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys

NAME_PATTERN = r"^[a-z0-9._-]{1,60}$"
_ID_DIGITS, _SECRET_CHARACTERS = 12, 43
_KEY_TEXT = re.compile(
    rf"llm_([0-9a-f]{{{_ID_DIGITS}}})_([A-Za-z0-9_-]{{{_SECRET_CHARACTERS}}})", re.ASCII
)
#: Seconds of the units in which rates and times are given.
UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Compared with where a key is not known, so that this takes as long.
_NO_HASH = "0" * 64

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Rate(BaseModel):
    """So many requests in so many seconds; as many may come at once."""

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    seconds: Annotated[int, Field(ge=1, le=86_400)]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `60/m`; the units are s, m, h and d. Raises ValueError for anything else."""
        found = re.fullmatch(r"([1-9][0-9]{0,6})/([smhd])", text, re.ASCII)
        if found is None or int(found[1]) > 1_000_000:
            raise ValueError("must be a number of 1 to 1000000 and a unit, as 60/m")
        return cls(count=int(found[1]), seconds=UNIT_SECONDS[found[2]])

    def __str__(self) -> str:
        units = {seconds: unit for unit, seconds in UNIT_SECONDS.items()}
        return f"{self.count}/{units.get(self.seconds, f'{self.seconds}s')}"


class Secret(BaseModel):
    """A secret of a key: its SHA-256, hex, and until when it holds, ms since 1970."""

    model_config = ConfigDict(strict=True, frozen=True, defer_build=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    until_ms: int | None = None


class ApiKey(BaseModel):
    """One key. Without a secret it has been revoked. Times are ms since 1970.

    `ceiling` is the most urgent queue that it may use; `concurrency` its jobs at once, 0 for no
    bound; `streams` its open streams, 0 for STREAMS_PER_KEY. With `keep_local` no word of its jobs
    leaves one's own hardware.
    """

    # What a newer version has added is not for this one.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", defer_build=True)

    name: Name
    tenant: Name
    ceiling: Literal["high", "normal", "low"] = "high"
    rate: Rate | None = None
    concurrency: Annotated[int, Field(ge=0, le=1000)] = 0
    streams: Annotated[int, Field(ge=0, le=100_000)] = 0
    created_ms: int = 0
    expires_ms: int | None = None
    keep_local: bool = False
    secrets: list[Secret] = []

    @property
    def key_id(self) -> str:
        """The id in the key's text. It follows from the name, which is so used only once."""
        return id_of(self.name)

    @property
    def is_revoked(self) -> bool:
        """Whether no secret of it opens anything any more."""
        return not self.secrets

    def as_text(self) -> str:
        """The record as it is kept. What has no value is left out, as Lua has no None."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Read a record; None for none, and for one that cannot be read."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def with_new_secret(self, now_ms: int, grace_seconds: float = 0.0) -> tuple[Self, str]:
        """The key with a new secret, and its text; the old ones hold for the grace."""
        secret = secrets.token_urlsafe(32)
        until_ms = now_ms + int(grace_seconds * 1000)
        old = [
            one if one.until_ms is not None and one.until_ms < until_ms
            else one.model_copy(update={"until_ms": until_ms})
            for one in self.secrets
            if grace_seconds > 0 and (one.until_ms is None or one.until_ms > now_ms)
        ]  # fmt: skip
        new = Secret(sha256=hash_of(secret))
        return self.model_copy(update={"secrets": [new, *old]}), f"llm_{self.key_id}_{secret}"


def id_of(name: str) -> str:
    """The id of the key of this name, which does not show the name."""
    return hashlib.sha256(f"api key {name}".encode()).hexdigest()[:_ID_DIGITS]


def hash_of(secret: str) -> str:
    """What is kept of a secret, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parts_of(text: str) -> tuple[str, str] | None:
    """The id and the secret in a key's text; None for what is no key's text."""
    found = _KEY_TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])


@dataclass(frozen=True)
class Checked:
    """What became of a request with a key: the key's record, empty where the request has none that
    holds, and the seconds until it may come, 0 where it may now."""

    record: str = ""
    wait_seconds: float = 0.0


class ApiKeys:
    """The keys in Redis, and the rate of all keys. Pure: each method is calls."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def check_api_key(self, key_id: str, secret: str, record: str = "") -> Calls[Checked]:
        """Look a key up and count a request against its rate. `record`: of a key in a file."""
        presented = hash_of(secret)
        reply = yield Script("check_api_key", [key_id, presented, record])
        found, wait_ms, *holding = reply
        # Compared in any case, and all of them, so that the time tells nothing.
        matches = [hmac.compare_digest(presented, one) for one in (_NO_HASH, *holding)]
        return Checked(found, int(wait_ms) / 1000) if any(matches) else Checked()

    def write_api_key(self, key_id: str, before: str, after: str) -> Calls[bool]:
        """Write a record ("": none) where it still is as before; returns whether it was."""
        return bool((yield Script("write_api_key", [key_id, before, after])))

    def count(self) -> Calls[int]:
        """How many keys there are, revoked ones too."""
        return int((yield Command(("HLEN", self._keys.api_key_records))))

    def records(self) -> Calls[dict[str, str]]:
        """The record of each key, by its id."""
        return dict((yield Command(("HGETALL", self._keys.api_key_records))))
