"""Schedulers in simulated time."""
