"""Samples of a batch, drawn by a model's own layers."""
