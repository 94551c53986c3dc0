"""How good scores and rankings are: plain functions, and intervals by a bootstrap over users."""
