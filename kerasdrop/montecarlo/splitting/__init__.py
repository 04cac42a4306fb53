"""What of a model runs once, and what runs for each sample."""
