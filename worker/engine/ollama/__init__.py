"""The engine over Ollama's API: `engine` (the calls), `client`, `stream`, and `errors`."""
