"""An event as it is sent: its body, and the headers of Standard Webhooks that sign it."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from functools import lru_cache

from local_llm_service.producers.http.moments import rfc3339
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.store.webhooks import Event

_PREFIX = "whsec_"


class Signer:
    """Signs with one key, or, while keys are exchanged, with each of several."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys

    @staticmethod
    @lru_cache(maxsize=8)
    def of(secret: str) -> Signer:
        """Read WEBHOOK_SECRET. Raises InvalidSetting."""
        return Signer(tuple(map(_key, secret.split() or [secret] * bool(secret))))

    def headers(self, event_id: str, unix_seconds: int, body: bytes) -> dict[str, str]:
        """The headers of one try to deliver this body."""
        signed = f"{event_id}.{unix_seconds}.".encode() + body
        signatures = [hmac.digest(key, signed, "sha256") for key in self._keys]
        texts = [f"v1,{base64.b64encode(signature).decode()}" for signature in signatures]
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(unix_seconds),
            "webhook-signature": " ".join(texts),
        }


def body_of(event: Event) -> bytes:
    """The body, the same at every try: what OpenAI's client and Standard Webhooks read at once. The
    receiver fetches the answer itself, by the id."""
    said = {
        "id": event.event_id,
        "object": "event",
        "created_at": event.created_ms // 1000,
        "type": event.type,
        "timestamp": rfc3339(event.created_ms),
        "data": {"id": event.object_id},
    }
    return json.dumps(said).encode()


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise InvalidSetting(
            "setting WEBHOOK_SECRET: must be whsec_ and base64 of 24 to 64 bytes; several with "
            "spaces between",
            "Make one: echo whsec_$(head -c 32 /dev/urandom | base64)",
        )
    return key
