"""The self-check of a model, and what it leaves untouched."""
