"""A server that speaks Ollama's API over llama.cpp."""
