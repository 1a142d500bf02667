"""A small key-value service in the memcached text protocol."""
