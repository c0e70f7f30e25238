"""Chooses between a local and a remote model, where the caller leaves the choice to the service."""
