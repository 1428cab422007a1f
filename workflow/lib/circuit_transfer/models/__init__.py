"""What a model is: families, nodes, checkpoints, loading, the hub."""
