"""Circuits that are learned: masks of edges and of weights, trained by gradients."""
