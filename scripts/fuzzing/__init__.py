"""Mutated inputs for every parser (scripts/fuzz.py)."""
