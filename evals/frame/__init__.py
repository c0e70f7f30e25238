"""What all sets share: items and outcomes, both sides, the run, records, intervals, tables."""
