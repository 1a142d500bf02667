"""Settings files that come with the host, chosen by name."""
