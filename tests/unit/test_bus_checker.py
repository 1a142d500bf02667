"""The checker of histories: what is as promised passes, and each planted fault is found."""

import pytest

from support.bus_checker import judge, members_of, store, writes_of

A, B, C = "one.a:1", "two.b:2", "two.b:3"


def begin(name, *more):
    return [["begin", 0.0, name], ["ready", 1.0, "t"], *more]


def published(number, at=2.0, wants_done=False):
    return ["publish", at, "t", number, at, wants_done]


def heard(number, at=3.0, sender=A, retained=False):
    return ["hear", at, "t", "t", sender, number, retained]


def finish(at=9.0):
    return ["finish", at]


def rules(*histories, **more):
    return [fault.rule for fault in judge(members_of(histories), **more)]


def test_what_is_as_promised_passes():
    told = [heard(1), heard(2), finish()]
    assert rules(begin(A, published(1), published(2), *told), begin(B, *told)) == []


def change(number, is_right=True):
    return ["change", 2.0, number, is_right]


def changed(number, answer, is_right=True):
    return ["changed", 3.0, number, is_right, answer]


def test_changes_that_are_answered_as_they_must_be():
    events = [change(1), changed(1, True), change(2, False), changed(2, False, False)]
    lost = ["lost", 4.0, "0"], change(2), changed(2, False), ["synced", 5.0, 0]
    not_known = change(1), changed(1, None), change(2), changed(2, False), ["synced", 6.0, 0]
    assert rules(begin(A, *events, *lost, *not_known, change(1), changed(1, True))) == []


@pytest.mark.parametrize(
    "events",
    [
        [change(1), changed(1, False)],
        [change(1, False), changed(1, True, False)],
        [change(1), changed(1, True), changed(1, True)],
        [["lost", 1.0, "0"], ["synced", 2.0, 5], change(6), changed(6, False)],
    ],
)
def test_a_change_that_has_a_wrong_answer_or_two(events):
    assert rules(begin(A, *events)) == ["change"]


@pytest.mark.parametrize(
    ("found", "more", "forgotten", "wanted"),
    [
        (3, [], [], []),
        (2, [], [], ["overtaken"]),
        (2, [change(9), changed(9, None)], [], []),
        (2, [], [3.0], []),
        (2, [], [5.0], ["overtaken"]),
    ],
)
def test_a_message_that_overtakes_a_change(found, more, forgotten, wanted):
    speaker = begin(A, published(1), ["behind", 2.0, "t", 1, 3], *more)
    hearer = begin(B, heard(1), ["looked", 4.0, A, "t", 1, found])
    assert rules(speaker, hearer, forgotten=forgotten) == wanted


def test_a_message_that_is_heard_twice():
    speaker = begin(A, published(1), heard(1), finish())
    assert rules(speaker, begin(B, heard(1), heard(1, 4.0, retained=True), finish())) == [
        "duplicate"
    ]


def test_members_that_hear_two_messages_in_different_order():
    one = begin(A, published(1), heard(1), heard(1, sender=B), finish())
    two = begin(B, published(1), heard(1, sender=B), heard(1), finish())
    assert rules(one, two) == ["order"]


def test_three_members_of_which_each_two_agree():
    one = begin(A, published(1), heard(1), heard(1, sender=B))
    two = begin(B, published(1), heard(1, sender=B), heard(1, sender=C))
    three = begin(C, published(1), heard(1, sender=C), heard(1))
    assert rules(one, two, three) == ["order"]


def test_messages_of_one_member_that_come_in_another_order():
    speaker = begin(A, published(1), published(2))
    assert rules(speaker, begin(B, heard(2), ["lost", 3.0, "0"], heard(1))) == ["loss", "order"]


@pytest.mark.parametrize(
    ("between", "found"),
    [
        ([], ["loss"]),
        ([["lost", 3.5, "0"]], []),
        ([["left", 3.5, C]], ["loss"]),
    ],
)
def test_a_gap_is_a_loss_unless_it_was_told(between, found):
    speaker = begin(A, published(1), published(2), published(3))
    assert rules(speaker, begin(B, heard(1), *between, heard(3, 4.0))) == found


@pytest.mark.parametrize("at", [3.1, 4.5])
def test_that_something_was_lost_is_told_where_it_is_missing(at):
    speaker = begin(A, *map(published, (1, 2, 3, 4)))
    hearer = begin(B, heard(1), heard(2), heard(4, 4.0))
    hearer.insert(3 if at < 4 else 5, ["lost", at, "0"])
    assert rules(speaker, hearer) == ["loss"]


def test_who_has_subscribed_later_need_not_hear_what_was_before():
    late = [["begin", 0.0, B], heard(2, retained=True), ["ready", 5.0, "t"], heard(4, 6.0)]
    speaker = begin(A, *(published(number, number) for number in (1, 2, 3, 4)))
    assert rules(speaker, late) == []
    assert rules(begin(A, published(3, 5.5), published(4, 5.6)), late) == ["loss"]


def test_a_message_with_no_place_need_not_be_heard():
    speaker = begin(A, published(1, wants_done=True), ["done", 2.5, "t", 1, False], published(2))
    assert rules(speaker, begin(B, heard(2))) == []


@pytest.mark.parametrize(
    ("has_place", "speaker_ends", "found"),
    [(True, True, ["loss"]), (None, True, []), (None, False, ["loss"])],
)
def test_the_last_message_is_heard_if_it_has_a_place_or_its_sender_is_there(
    has_place, speaker_ends, found
):
    speaker = begin(A, published(1, wants_done=True))
    if has_place:
        speaker.append(["done", 2.5, "t", 1, True])
    if not speaker_ends:
        speaker += [heard(1), finish()]
    assert rules(speaker, begin(B, finish())) == found


def test_who_hears_a_prefix_misses_what_is_on_any_of_its_topics():
    hearer = [["begin", 0.0, B], ["ready", 1.0, "t*"], ["finish", 9.0]]
    assert rules(begin(A, published(1), heard(1), finish()), hearer) == ["loss"]


def test_a_message_after_the_word_that_its_sender_has_left():
    dead = begin(A, published(1), published(2))
    hearer = begin(B, heard(1), ["left", 4.0, A], heard(2, 5.0), finish())
    assert rules(dead, hearer) == ["left"]
    assert rules(dead, begin(B, heard(1), heard(2, 5.0), ["left", 5.1, A], finish())) == []
    hearer.insert(-1, ["lost", 5.1, "0"])
    assert rules(dead, hearer) == []
    del hearer[-2]
    assert rules([*dead, finish()], hearer) == ["loss"]  # it was there: and its own it did not hear


def test_nobody_is_told_that_a_member_has_left():
    dead = begin(A, published(1))
    assert rules(dead, begin(B, heard(1), finish())) == ["left"]
    assert rules(dead, begin(B, heard(1), ["lost", 5.0, "0"], finish())) == []


def owned(at, fence, asked=None):
    return [
        ["claim", at - 0.1 if asked is None else asked, "k"],
        ["owned", at, "k", fence is not None, fence],
    ]


def wrote(before, fence, after=None):
    return ["write", before + 0.01 if after is None else after, "k", fence, before]


def test_owners_one_after_the_other():
    one = begin(A, *owned(2.0, 5), wrote(2.1, 5), ["release", 2.2, "k"], *owned(5.0, None))
    two = begin(B, *owned(3.0, 6), wrote(3.1, 6))
    assert rules(one, two) == []


def test_two_owners_with_the_same_fencing_number():
    assert rules(begin(A, wrote(2.0, 5)), begin(B, wrote(3.0, 5))) == ["fence"]


def test_a_fencing_number_that_does_not_grow():
    one, two = begin(A, *owned(2.0, 5)), begin(B, *owned(3.0, 4))
    assert rules(one, two) == ["fence"]
    asked_at_once = begin(B, *owned(3.0, 4, asked=1.5))
    assert rules(one, asked_at_once) == []  # nobody knows which of them was first


def test_an_owner_that_is_told_so_after_there_is_another():
    one, two = begin(A, wrote(2.0, 5), wrote(4.0, 5)), begin(B, wrote(3.0, 6))
    assert rules(one, two) == ["owner"]
    assert rules(one, begin(B, *owned(3.0, 6))) == ["owner"]
    assert rules(one, two, forgotten=[3.5], lease=1.0) == []
    assert rules(one, two, forgotten=[2.5], lease=1.0) == ["owner"]


def test_an_owner_that_looked_before_there_was_another_could_not_know():
    one, two = begin(A, wrote(2.0, 5, after=4.0)), begin(B, wrote(3.0, 6))
    assert rules(one, two) == []
    assert store(writes_of(members_of([one, two]))["k"]) == (1, 1)
