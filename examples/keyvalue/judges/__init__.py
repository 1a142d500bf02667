"""What others use to judge a memcached, for a memcached and for the plugin, in one run."""
