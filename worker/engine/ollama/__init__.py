"""The engine over Ollama's API."""
