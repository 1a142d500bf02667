"""Tests of others that what is served here must pass, too; each is run by hand."""
