"""Saves a Monte Carlo model as a file for other software."""
