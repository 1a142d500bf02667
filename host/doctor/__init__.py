"""Examines plugins for their authors and for operators: the command `plugins doctor`."""
