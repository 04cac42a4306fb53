"""Attributes the predictive variance to dropout layers."""
