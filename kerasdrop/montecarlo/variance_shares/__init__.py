"""Which dropout layers the predictive variance comes from."""
