"""Whether a worker takes jobs now, and what it says of itself."""
