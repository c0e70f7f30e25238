"""Webhooks: a message to a caller's own server when a job, or a batch, has ended."""

from __future__ import annotations

from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.delivery import deliver
from local_llm_service.producers.http.webhooks.message import Signer
from local_llm_service.producers.http.webhooks.noting import (
    check_target,
    notify,
    notify_at_end,
)
from local_llm_service.worker.settings import Settings

__all__ = ["check_settings", "check_target", "deliver", "notify", "notify_at_end"]


def check_settings(settings: Settings) -> None:
    """Raises InvalidSetting for a WEBHOOK_SECRET or WEBHOOK_ALLOW that cannot be read."""
    Signer.of(settings.webhook_secret or "")
    AllowList.of(settings.webhook_allow)
