"""Sentences that the refusals of the Monte Carlo engine share."""

# What every refusal of a model says that samples run side by side would get
# wrong, or could not run.
ONE_BY_ONE = (
    "Pass `vectorized=False`: it runs one sample at a time by plain calls of "
    "the model, which is slower, and exact for any model, also for one in "
    "which rows see each other."
)


def side_by_side(model, why):
    """The error for a model of which samples cannot run side by side.

    Args:
        model: The model.
        why: A clause that names the place.

    Returns:
        A ValueError, to be raised.
    """
    return ValueError(
        f"The samples of model '{model.name}' cannot be run side by side, as "
        f"further rows of one batch: {why}. {ONE_BY_ONE}"
    )
