"""Connections with traces are known by their numbers, and forgotten some time after their end."""

from host.worker.context import _FEW_TRACED, OpenConnections


class Numbered:
    def __init__(self, serial):
        self.serial = serial


def test_those_that_have_ended_are_forgotten_when_there_are_too_many():
    connections = OpenConnections()
    kept, *others = map(Numbered, range(10_000))
    connections.open.add(kept)
    connections.note_traced(kept)
    for each in others:
        connections.open.add(each)
        connections.note_traced(each)
        connections.open.remove(each)
    assert connections.traced[0] is kept
    assert len(connections.traced) <= 2 + 2 + _FEW_TRACED
