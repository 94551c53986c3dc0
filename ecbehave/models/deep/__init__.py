"""Nets: what they learn, and the one loop that teaches them.

The files of the kinds and `settings.py`, `watching.py` import torch only inside of functions, so that a config can be
read without it; every other file here imports it at the top.
"""
