"""The nearest valid name."""

from host.settings import nearest


def test_nearest():
    assert nearest("histroy", ["history", "rooms"]) == "history"
    assert nearest("HISTORY", ["history", "rooms"]) == "history"
    assert nearest("zzz", ["history", "rooms"]) is None
    assert nearest("x", []) is None
