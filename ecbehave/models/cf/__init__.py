"""Neighbours on the user-item matrix."""
