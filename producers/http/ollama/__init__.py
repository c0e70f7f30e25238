"""Ollama's API over the kinds."""
