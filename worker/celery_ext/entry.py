"""The steps that `worker/app.py` names. Without its packages a worker ends here, in one line."""

from __future__ import annotations

import sys

from local_llm_service.worker.worker_packages import worker_packages

try:
    with worker_packages():
        from local_llm_service.worker.celery_ext.steps import LeaseStep, PresenceStep
except ModuleNotFoundError as error:
    sys.exit(str(error))

__all__ = ["LeaseStep", "PresenceStep"]
