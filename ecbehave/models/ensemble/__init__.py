"""Trees on the table input."""
