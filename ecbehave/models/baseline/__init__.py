"""Rules that any model has to beat."""
