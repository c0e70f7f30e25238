"""Tokens before and after a model has counted them: characters, rates, and what Redis keeps."""
