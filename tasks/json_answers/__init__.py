"""Answers in JSON: asked for, read strictly, and asked for again where they break their schema."""
