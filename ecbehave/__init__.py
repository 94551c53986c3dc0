"""Predict purchase, churn and preference from a shop's raw event logs."""

__version__ = "0.1.0"
