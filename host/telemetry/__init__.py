"""What the host has to tell: events, and who hears them."""
