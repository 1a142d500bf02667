"""Who owns which key, where a broker decides: what was granted, and what waits for it. No I/O.

Of the claims of one key the first is asked for, and the next when that has its answer. Each claim
has its answer at its deadline at the latest; what is granted later is given back.

What was granted on a connection before is asked for again some keys at a time, the next when those
have their answer: a turn of the supervisor has no time for a hundred thousand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from host.bus.bridge_frames import Ask, pack_names
from host.bus.frames import FENCE, Frame, Kind
from host.bus.remote_state import OwnedKey, WaitingClaim

_MOST = 100_000
"""How many claims may wait at the same time."""


class Owned(NamedTuple):
    """A key that a member owns."""

    member: int
    fence: int


@dataclass(slots=True, eq=False)
class Claim:
    """A claim that has no answer of the broker yet.

    Attributes:
        member: who claims.
        key: the key.
        due: when it has its answer at the latest, in seconds of the loop's clock.
        is_asked: whether the broker was asked on this connection.
        is_answered: whether the member has its answer, or wants none.
        is_released: whether the member has given the key up meanwhile.
        is_refused: whether the member has claimed the key twice before it gave it up.
    """

    member: int
    key: bytes
    due: float
    is_asked: bool = False
    is_answered: bool = False
    is_released: bool = False
    is_refused: bool = False


class Claims:
    """Knows the owners among the members of this host, and what they claim.

    Args:
        send: takes the number of a member and a packed frame for it.
        ask: takes a frame for the bridge.
        release: takes a member and a key that it gives up.
        name: returns the name of a member for the broker.
        at_once: how many keys are asked for again at a time, 500 at most: that fits a frame.

    Attributes:
        owners: which member of this host owns which key.
        is_unsure: whether other members may own some of these keys by now.
    """

    def __init__(
        self,
        send: Callable[[int, bytes], object],
        ask: Callable[[Frame], object],
        release: Callable[[int, bytes], object],
        name: Callable[[int], bytes],
        at_once: int,
    ) -> None:
        self._send, self._ask, self._release, self._name = send, ask, release, name
        self._is_open, self._at_once = False, at_once
        self.owners: dict[bytes, Owned] = {}
        self.is_unsure = False
        self._again: Iterator[bytes] = iter(())
        self._asked_again: list[bytes] = []
        self._then: Callable[[], object] = _nothing
        self._waiting: dict[bytes, deque[Claim]] = {}
        self._count = 0
        self._by_due: deque[Claim] = deque()
        self._asked: deque[Claim] = deque()

    def claim(self, member: int, key: bytes, due: float) -> None:
        """Have a member ask for a key."""
        if key in self.owners or self._count >= _MOST:
            self._answer(member, key, 0)
            return
        claim = Claim(member, key, due)
        self._by_due.append(claim)
        self._count += 1
        queue = self._waiting.setdefault(key, deque())
        queue.append(claim)
        if len(queue) == 1:
            self._ask_for(claim)

    def release(self, member: int, key: bytes) -> None:
        """Have a member give a key up, also one that it is not told yet that it owns."""
        owner = self.owners.get(key)
        if owner is not None and owner.member == member:
            del self.owners[key]
            self._release(member, key)
        is_first = True
        for claim in self._waiting.get(key, ()):
            if claim.member == member and not (claim.is_released or claim.is_answered):
                claim.is_released, claim.is_refused, is_first = True, not is_first, False

    def leave(self, member: int) -> None:
        """Forget a member; the broker hears of it otherwise."""
        for key in [key for key, owner in self.owners.items() if owner.member == member]:
            del self.owners[key]
        for claim in self._by_due:
            if claim.member == member:
                claim.is_answered = claim.is_released = True

    def take_answer(self, fence: int) -> None:
        """Take the broker's answer to what was asked first; 0 if another one owns the key."""
        asked = self._asked.popleft()
        self._leave_queue(asked)
        asked.is_asked = False
        if not fence:
            if not asked.is_answered:
                self._answer(asked.member, asked.key, 0)
        elif asked.is_answered or asked.is_released:
            if not asked.is_answered:
                self._answer(asked.member, asked.key, fence)
            self._release(asked.member, asked.key)
        else:
            self.owners[asked.key] = Owned(asked.member, fence)
            self._answer(asked.member, asked.key, fence)
        asked.is_answered = True
        self._ask_next(asked.key)
        while self._by_due and self._by_due[0].is_answered and not self._by_due[0].is_asked:
            self._by_due.popleft()

    def expire(self, now: float) -> float | None:
        """Answer claims whose time is over; return when that of the next is, None for no claim."""
        while self._by_due and (self._by_due[0].is_answered or self._by_due[0].due <= now):
            claim = self._by_due.popleft()
            if not claim.is_answered:
                claim.is_answered = True
                self._answer(claim.member, claim.key, 0)
            if not claim.is_asked:
                self._leave_queue(claim)
                self._ask_next(claim.key)
        return self._by_due[0].due if self._by_due else None

    def close(self) -> None:
        """Stop asking: the connection to the broker has ended."""
        self._is_open = False
        self._again, self._asked_again, self._then = iter(()), [], _nothing
        for asked in self._asked:
            asked.is_asked = False
            if asked.is_answered:  # it may have been granted
                self._leave_queue(asked)
                self._release(asked.member, asked.key)
        self._asked.clear()

    def ask_again(self, then: Callable[[], object]) -> None:
        """Ask for all keys that are owned: other members may own them by now.

        Args:
            then: called when all have their answer; not if the connection ends before.
        """
        self.is_unsure = True
        self._again, self._then = iter(tuple(self.owners)), then
        self._ask_for_more()

    def take_again(self, fences: Iterable[int]) -> None:
        """Take the broker's answers to what was asked for again, in that order."""
        for key, fence in zip(self._asked_again, fences, strict=False):
            self._take_again(key, fence)
        self._ask_for_more()

    def begin(self) -> None:
        """Ask for what waits."""
        self._is_open = True
        for key in tuple(self._waiting):
            self._ask_next(key)

    def state(self) -> tuple[list[OwnedKey], list[WaitingClaim]]:
        """Return who owns what, and the claims that wait, for those that take over."""
        owned = [(key, *owner) for key, owner in self.owners.items()]
        late = [each for each in self._asked if each.is_answered]
        waiting = [each for each in self._by_due if not each.is_answered]
        return owned, [
            (each.member, each.key, each.due, each.is_released, each.is_answered)
            for each in (*late, *waiting)
        ]

    def restore(self, owned: Iterable[OwnedKey], claims: Iterable[WaitingClaim]) -> None:
        """Take over."""
        self.owners.update((key, Owned(member, fence)) for key, member, fence in owned)
        self.is_unsure = bool(self.owners)
        for member, key, due, is_released, is_answered in claims:
            if is_answered:  # it may have been granted
                self._release(member, key)
            else:
                self.claim(member, key, due)
                self._by_due[-1].is_released = is_released

    def _ask_for_more(self) -> None:
        """Ask for some of the keys again, or go on if there are no more."""
        kept = (key for key in self._again if key in self.owners)
        self._asked_again = list(islice(kept, self._at_once))
        pairs = ((self._name(self.owners[key].member), key) for key in self._asked_again)
        for piece in pack_names(name for pair in pairs for name in pair):
            self._ask(Frame(Ask.OWN_AGAIN, 0, b"", piece))
        if not self._asked_again:
            self.is_unsure = False
            then, self._then = self._then, _nothing
            then()

    def _take_again(self, key: bytes, fence: int) -> None:
        owner = self.owners.get(key)
        if owner is None or fence == owner.fence:  # or it was given up meanwhile
            return
        if fence:
            self.owners[key] = owner._replace(fence=fence)
            self._send(owner.member, Frame(Kind.FENCE, 0, key, FENCE.pack(fence)).pack())
        else:
            del self.owners[key]
            self._send(owner.member, Frame(Kind.TAKEN, 0, key).pack())

    def _ask_for(self, claim: Claim) -> None:
        if self._is_open and not claim.is_asked:
            claim.is_asked = True
            self._asked.append(claim)
            self._ask(Frame(Ask.OWN, 0, claim.key, self._name(claim.member)))

    def _ask_next(self, key: bytes) -> None:
        """Ask for the next claim of a key, or answer all if a member of this host owns it now."""
        queue = self._waiting.get(key)
        while queue:
            claim = queue[0]
            if claim.is_asked:
                return
            if key not in self.owners and not (claim.is_answered or claim.is_refused):
                self._ask_for(claim)
                return
            if not claim.is_answered:
                claim.is_answered = True
                self._answer(claim.member, key, 0)
            self._leave_queue(claim)
            queue = self._waiting.get(key)

    def _leave_queue(self, claim: Claim) -> None:
        queue = self._waiting.get(claim.key)
        if queue and claim in queue:
            queue.remove(claim)
            self._count -= 1
            if not queue:
                del self._waiting[claim.key]

    def _answer(self, member: int, key: bytes, fence: int) -> None:
        frame = Frame(Kind.OWNED, int(fence > 0), key, FENCE.pack(fence))
        self._send(member, frame.pack())


def _nothing() -> None:
    """Stand in for what goes on when all keys were asked for."""
