"""OpenAI's API over the kinds `chat` and `embed`."""
