"""A reload: new settings are rehearsed, then the process is re-executed and takes over from itself."""
