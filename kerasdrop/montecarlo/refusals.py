"""Sentences that the refusals of the Monte Carlo engine share."""

# What every refusal of a model says that samples run side by side would get
# wrong, or could not run.
ONE_BY_ONE = (
    "Pass `vectorized=False`: it runs one sample at a time by plain calls of "
    "the model, which is slower, and exact for any model, also for one in "
    "which rows see each other."
)
