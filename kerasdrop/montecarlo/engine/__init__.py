"""Batches, samples and memory: cuts a prediction and joins its results."""
