"""Pairs of clean and corrupted prompts: as text, as tokens, in batches."""
