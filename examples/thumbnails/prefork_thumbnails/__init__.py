"""A server that scales images in a pool of processes."""
