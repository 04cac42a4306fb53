"""Formulas that several rooms share: arrays in, arrays or tensors out."""
