"""From settings to a running host."""
