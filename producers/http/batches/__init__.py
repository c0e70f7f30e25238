"""Files and batches, as OpenAI's clients ask for them."""
