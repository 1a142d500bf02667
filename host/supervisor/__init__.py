"""The supervisor process, the parent of all others."""
