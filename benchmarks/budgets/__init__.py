"""Parts of bench_budgets, and what they share: texts, and a judge that is not our own code."""
