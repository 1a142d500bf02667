"""The plugins that ship with the host; each is an example for authors."""
