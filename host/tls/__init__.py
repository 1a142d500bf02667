"""TLS: certificates, the contexts that they are in, and what is sent to workers of them."""
