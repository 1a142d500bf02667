"""A reload: rehearse the new settings, re-execute the process, take over from it."""
