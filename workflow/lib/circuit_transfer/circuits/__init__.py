"""Circuits of a model: found by attribution, and measured."""
