"""A key-value service in the memcached text protocol."""

VERSION = "0.1.0"

MEMCACHED_VERSION = "1.6.18"
"""Of the memcached whose protocol this is. Clients are told it: they go by it in what they send."""
