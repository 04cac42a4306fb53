"""Reads the structure of a model: its layers and its graph."""
