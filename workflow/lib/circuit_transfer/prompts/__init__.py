"""Text pairs: their frame, tokenized, in batches."""
