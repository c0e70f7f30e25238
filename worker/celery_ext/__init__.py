"""What derives from Celery and kombu, and nothing else."""
