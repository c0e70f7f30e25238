"""The settings for processes that only send jobs, imported at the first use.

Reading the environment with pydantic-settings takes 0.1 s, which must not slow down `from
local_llm_service import summarize`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings


@lru_cache(maxsize=1)
def lazy_settings() -> Settings:
    """This process's settings. Raises InvalidSetting; see settings.get_settings."""
    from local_llm_service.worker.settings import get_settings

    return get_settings()
