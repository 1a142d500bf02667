"""The plugin system: finds plugins, checks them, binds their hooks and isolates their failures."""
