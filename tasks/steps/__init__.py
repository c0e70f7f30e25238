"""What a kind's program has of its engine: steps, counts of tokens, and what they cost together."""
