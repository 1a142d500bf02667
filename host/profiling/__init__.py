"""Where a worker's time goes."""
