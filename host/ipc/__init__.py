"""Everything that crosses between supervisor and worker."""
