"""Webhooks: a message to a caller's own server when a job has ended."""
