from host.testing import Conversation

TALK = Conversation(
    [
        (b"flush_all\r\n", b"OK\r\n"),
        (b"set a 5 0 3\r\nabc\r\n", b"STORED\r\n"),
        (b"get a nix\r\n", b"VALUE a 5 3\r\nabc\r\nEND\r\n"),
        (b"delete a\r\n", b"DELETED\r\n"),
    ],
    farewell=(b"quit\r\n", b""),
)


def test_faults_cost_what_is_stored_and_nothing_else(chaos):
    chaos("keyvalue", TALK)
