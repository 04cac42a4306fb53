"""The self-check of a model, and the check that its state is unchanged."""
