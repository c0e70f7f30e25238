"""Files and batches over HTTP: the runner of `producers/batch/`, driven by the HTTP processes."""

from local_llm_service.producers.http.batches import batch_routes, file_routes
from local_llm_service.producers.http.batches.driving import drive_batches

__all__ = ["OPERATIONS", "drive_batches"]

OPERATIONS = (*file_routes.OPERATIONS, *batch_routes.OPERATIONS)
