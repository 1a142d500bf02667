from host.testing.outcomes import Outcome, problems, table

FOUND = [
    Outcome("whole", "memory"),
    Outcome("whole", "tcp"),
    Outcome("reload", "tcp", "after a reload: expected b'x', got nothing"),
]


def test_a_table_has_a_line_for_each_scene():
    assert table(FOUND).splitlines() == [
        "        memory  tcp",
        "whole   held    held",
        "reload  -       NOT HELD",
    ]


def test_what_did_not_hold_is_said_with_its_reason():
    assert problems(FOUND) == ["reload, tcp: after a reload: expected b'x', got nothing"]
    assert problems(FOUND[:2]) == []
