"""What plugins count, and what is counted of them: their hooks and their failures."""
