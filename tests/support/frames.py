"""Messages as protocols frame them, for tests of framers."""


def request(*words):
    """Return a request of a Redis client: an array of words (RESP)."""
    return b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%b\r\n" % (len(each), each) for each in words
    )


def four_bytes(header):
    """Return the length that a header of four bytes tells."""
    return int.from_bytes(header, "big")


def headed(body):
    """Return a message with such a header."""
    return len(body).to_bytes(4, "big") + body
