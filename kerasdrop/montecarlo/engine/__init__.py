"""Batches, samples and memory: how a prediction is cut, and put together."""
