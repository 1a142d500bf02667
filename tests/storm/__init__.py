"""Faults, one row of the table each, against real hosts: what must hold, and what was measured.

`python -m storm` with `tests` on the path runs them and prints the table; `tox -e storm` does so.
"""
