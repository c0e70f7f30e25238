"""Texts of any length: sentences, pieces, budgets of tokens, and summaries made in steps."""
