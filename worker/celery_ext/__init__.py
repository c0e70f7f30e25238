"""The parts derived from Celery and kombu, and nothing else."""
