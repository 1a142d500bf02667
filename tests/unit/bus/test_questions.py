"""Answers of tables for members that do not keep up: as a whole, or not known."""

import pytest

from host.bus.bridge_frames import Tell
from host.bus.frames import Frame, Kind, Parser
from host.bus.questions import Questions
from host.bus.tables import Answer, Op, Request

MEMBER, NUMBER = 1, 5


@pytest.mark.parametrize("full", [(), (Kind.ITEMS,), (Kind.ANSWER,)])
def test_an_answer_of_which_a_frame_had_no_room_is_not_known(full):
    told, asked = [], []

    def send(member, packed):
        (frame,) = Parser(packed).frames()
        if frame.kind in full:
            return False
        told.append((member, frame.kind, frame.number))
        return True

    questions = Questions(send, asked.append, 1000)
    questions.begin()
    questions.ask_table(MEMBER, Frame(Kind.TABLE, NUMBER, b"t", Request(Op.ITEMS).pack()))
    (question,) = asked
    questions.take_items(Frame(Tell.ITEMS, question.number, b"", b"some"))
    questions.take_answer(Frame(Tell.ANSWER, question.number, b"", Answer(done=True).pack()))
    last = Kind.NO_ANSWER if full else Kind.ANSWER
    assert told[-1] == (MEMBER, last, NUMBER)
    assert [kind for _, kind, _ in told].count(Kind.ANSWER) == int(not full)
