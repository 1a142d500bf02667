"""A small in-memory store and message broker that speaks RESP2 and RESP3, as Redis does."""
