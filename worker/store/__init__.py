"""All of Redis: names, scripts, the moves of jobs, what workers publish. Knows no Celery."""
