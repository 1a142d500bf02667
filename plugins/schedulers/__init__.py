"""The schedulers that ship: each chooses which worker takes a connection."""
