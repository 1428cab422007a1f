"""Models: families, nodes, sizes, checkpoints, loading, the Hugging Face hub."""
