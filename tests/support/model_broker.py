"""A broker as the bus needs one, in memory and in steps, with connections that break anywhere."""

from __future__ import annotations

from collections import deque

from host.bus.bridge_frames import (
    JOINED,
    SERIAL,
    TRUST,
    Ask,
    Tell,
    pack_serials,
    unpack_names,
)
from host.bus.frames import Frame, split_sender
from host.bus.tables import Request, Tables


class ModelBroker:
    """What the scripts in Redis do, in a few lines.

    Attributes:
        log: all messages: topic, and sender with payload.
        owners: fencing number and member for each key.
        fence: the last fencing number.
        nodes: session, last serial and members of each node; the session is None if it is dead.
        history: what was done of publishing and changing tables: payload, or value.
    """

    def __init__(self):
        self.bridges = []
        self.forget()

    def forget(self):
        """Restart empty."""
        self.log, self.owners, self.nodes, self.rings = [], {}, {}, {}
        self.known_since, self.alive_since = {}, {}
        self.tables, self.refused, self.history = Tables(), {}, []
        self.fence = getattr(self, "fence", 0)
        self.epoch = getattr(self, "epoch", 0) + 1

    def join(self, node, members):
        self.sessions = getattr(self, "sessions", 0) + 1
        session, serial, known = self.nodes.get(node, (None, 0, ()))
        if session is None:
            self.alive_since[node] = self.sessions
        else:
            members = {*members, *known}
        self.nodes[node] = [self.sessions, serial, set(members)]
        known_since = self.known_since.setdefault(node, self.sessions)
        state = JOINED.pack(serial, known_since, self.alive_since[node])
        return self.sessions, state, self.refused.get(node, ())

    def is_current(self, node, session):
        return node in self.nodes and self.nodes[node][0] == session

    def publish(self, topic, whole, keep=0):
        self.log.append((topic, whole))
        if keep:
            self.rings.setdefault(topic, deque(maxlen=keep)).append(whole)
        for bridge in self.bridges:
            bridge.push(len(self.log), topic, whole)

    def own(self, member, key):
        if key in self.owners:
            fence, owner = self.owners[key]
            return fence if owner == member else 0
        self.fence += 1
        self.owners[key] = self.fence, member
        return self.fence

    def release(self, member, key):
        if self.owners.get(key, (0, b""))[1] == member:
            del self.owners[key]

    def leave(self, member):
        for key in [key for key, (_, owner) in self.owners.items() if owner == member]:
            del self.owners[key]
        self.publish(b"bus.left", bytes((len(member),)) + member + member)

    def reap(self, node):
        """Take a node for dead."""
        members = sorted(self.nodes[node][2])
        self.nodes[node] = [None, self.nodes[node][1], set()]
        for member in members:
            self.leave(member)


class ModelBridge:
    """A bridge with its connection, each of which may end at any moment.

    Attributes:
        asked: frames of the hub that the broker has not seen.
        told: frames that the hub has not seen.
    """

    def __init__(self, broker):
        self.broker, self.asked, self.told = broker, deque(), deque()
        self.is_up, self.number = False, 0
        broker.bridges.append(self)

    def connect(self):
        self.is_up, self.node, self.session = True, None, None
        self.topics, self.prefixes, self.is_hearing = set(), set(), False
        self.number += 1
        self.told.append(Frame(Tell.UP, self.number, b"", b"a model"))

    def cut(self):
        """Lose the connection with all that is under way."""
        if self.is_up:
            self.is_up = False
            self.told = deque(each for each in self.told if each.kind in (Tell.UP, Tell.AWAY))
            self.told.append(Frame(Tell.AWAY, 0, b"", b"cut"))

    def push(self, number, topic, whole):
        if self.is_up and self.is_hearing and self.hears(topic):
            self.told.append(Frame(Tell.MESSAGE, number & 0xFFFFFFFF, topic, whole))

    def hears(self, topic):
        return topic in self.topics or any(map(topic.startswith, self.prefixes))

    def step(self):
        """Have the broker do one thing."""
        frame = self.asked.popleft()
        if frame.kind == Ask.JOIN and frame.number != self.number:
            return
        if not self.is_up or (self.session is None and frame.kind != Ask.JOIN):
            return
        if frame.kind == Ask.JOIN:
            self.node = frame.name
            joined = self.broker.join(frame.name, frame.payload.split())
            self.session, state, refused = joined
            self.told.append(Frame(Tell.REFUSED, 0, b"", pack_serials(refused)))
            self.told.append(Frame(Tell.JOINED, 0, b"", state))
        elif not self.broker.is_current(self.node, self.session):
            self.cut()
        else:
            getattr(self, f"_{Ask(frame.kind).name.lower()}")(frame)

    def beat(self, until):
        """Tell that the node is alive, as long as that is so."""
        if self.is_up and self.session and self.broker.is_current(self.node, self.session):
            payload = TRUST.pack(until, len(self.broker.log))
            self.told.append(Frame(Tell.TRUST, 0, b"", payload))

    def _own(self, frame):
        fence = self.broker.own(frame.payload, frame.name)
        self.told.append(Frame(Tell.OWNED, 0, frame.name, SERIAL.pack(fence)))

    def _own_again(self, frame):
        names = list(unpack_names(frame.payload))
        fences = map(self.broker.own, names[::2], names[1::2])
        self.told.append(Frame(Tell.OWNED_AGAIN, 0, b"", pack_serials(fences)))

    def _listen(self, frame):
        self.topics.update(unpack_names(frame.payload))

    def _listen_prefix(self, frame):
        self.prefixes.update(unpack_names(frame.payload))

    def _unlisten(self, frame):
        self.topics.difference_update(unpack_names(frame.payload))

    def _unlisten_prefix(self, frame):
        self.prefixes.difference_update(unpack_names(frame.payload))

    def _resume(self, frame):
        log, epoch = self.broker.log, b"%d" % self.broker.epoch
        place, lost = frame.payload, False
        if place:
            (heard,) = SERIAL.unpack_from(place)
            lost = place[SERIAL.size :] != epoch
            for number, (topic, whole) in enumerate(log[heard:] if not lost else (), heard + 1):
                if self.hears(topic):
                    self.told.append(Frame(Tell.MESSAGE, number & 0xFFFFFFFF, topic, whole))
        self.is_hearing = True
        now = SERIAL.pack(len(log)) + epoch
        self.told.append(Frame(Tell.RESUMED, int(lost), b"", now))

    def _ring(self, frame, topics=None):
        for topic in topics or [frame.name]:
            for whole in self.broker.rings.get(topic, ()):
                self.told.append(Frame(Tell.RETAINED, frame.number, topic, whole))
        self.told.append(Frame(Tell.HEARD, frame.number, b""))

    def _rings(self, frame):
        self._ring(frame, [each for each in self.broker.rings if each.startswith(frame.name)])

    def _once(self, frame, do):
        """Note the serial, and do something; if it returns False that is refused."""
        (serial,) = SERIAL.unpack_from(frame.payload)
        self.broker.nodes[self.node][1] = serial
        if do(frame.payload[SERIAL.size :]) is False:
            known, first = self.broker.refused.get(self.node, set()), serial - frame.number
            self.broker.refused[self.node] = {each for each in known if each >= first} | {serial}
            self.told.append(Frame(Tell.REFUSED, 0, b"", pack_serials([serial])))
        self.told.append(Frame(Tell.DONE, 1, b""))

    def _publish(self, frame):
        def publish(whole):
            self.broker.history.append(split_sender(whole)[1])
            self.broker.publish(frame.name, whole, frame.number)

        self._once(frame, publish)

    _publish_told = _publish

    def _change(self, frame):
        def change(rest):
            request = Request.unpack(rest)
            is_done = self.broker.tables.do(frame.name, request).done
            if is_done:
                self.broker.history.append(request.value)
            return is_done

        self._once(frame, change)

    def _release(self, frame):
        self._once(frame, lambda member: self.broker.release(member, frame.name))

    def _enter(self, frame):
        self._once(frame, self.broker.nodes[self.node][2].add)

    def _leave(self, frame):
        def leave(member):
            if member in self.broker.nodes[self.node][2]:
                self.broker.nodes[self.node][2].discard(member)
                self.broker.leave(member)

        self._once(frame, leave)

    def _ready(self, frame):
        pass
