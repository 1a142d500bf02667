"""Commands to a running host: the table, the server, the client."""
