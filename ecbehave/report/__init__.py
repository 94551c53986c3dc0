"""Self-contained HTML pages: what a run found, for people who do not read code."""
