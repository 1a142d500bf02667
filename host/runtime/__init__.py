"""This process: its loop, its signals, its children."""
