"""What is kept of the samples, and what follows from it."""
