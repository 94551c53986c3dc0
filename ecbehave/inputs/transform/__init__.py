"""From the stored table to what a model reads: features are selected, and become numbers on a fitting scale."""
