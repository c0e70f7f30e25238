"""A router made of one's own log by `local-llm route fit`.

`ROUTER=local_llm_service.tasks.routing.fitted:classify` with `ROUTER_FILE`. It needs neither
scikit-learn nor NumPy.
"""

from __future__ import annotations

from functools import lru_cache

from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.tasks.routing.router_file import RouterFile, read_router
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.lazy_settings import lazy_settings

_read_once = lru_cache(maxsize=1)(read_router)


def classify(prompt: str) -> Verdict:
    """By the router in ROUTER_FILE. Raises InvalidSetting without a usable file.

    A new file is read when the process starts again.
    """
    router = _router()
    score = router.score(prompt)
    return Verdict(score >= router.complex_from, score)


def _router() -> RouterFile:
    path = lazy_settings().router_file
    if path is None:
        raise InvalidSetting(
            "setting ROUTER_FILE: is not set", "Name the file that `local-llm route fit` wrote."
        )
    return _read_once(path)
