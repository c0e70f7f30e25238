"""Room for running identical prompts once."""
