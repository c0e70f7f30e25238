"""Jobs as resources: /v1/jobs."""

from local_llm_service.producers.http.jobs.job_routes import OPERATIONS

__all__ = ["OPERATIONS"]
