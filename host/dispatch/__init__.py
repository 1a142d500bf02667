"""Who gets a connection."""
