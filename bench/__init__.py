"""Compares the host with what else a server could be written with: `python -m bench`."""
