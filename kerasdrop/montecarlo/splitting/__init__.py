"""Splits a model into what runs once and what runs for each sample."""
