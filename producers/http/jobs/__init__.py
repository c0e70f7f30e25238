"""Jobs as resources: /v1/jobs."""
