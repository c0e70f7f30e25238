"""`local-llm route fit`: makes a router of labelled prompts, and says whether it is worth having.

Only this room imports scikit-learn, and only while it fits (extra [route]).
"""
