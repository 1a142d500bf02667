"""Listening sockets, and what the kernel says of them."""
