"""Formulas that several components share: arrays in, arrays or tensors out."""
