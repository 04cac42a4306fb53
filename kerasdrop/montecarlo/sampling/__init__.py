"""Draws the samples of a batch through a model's own layers."""
