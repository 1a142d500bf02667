"""What is known of a client with TLS is found out when somebody asks, and not before."""

from dataclasses import replace

import pytest

from host.interfaces import ConnectionOrigin, TlsInfo
from host.net.sockets import LateOrigin

AGREED = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", None, "a.example", False, None)
NOBODY = -1


class Session:
    """A session that counts who asks it."""

    asked = 0

    def info(self):
        self.asked += 1
        return AGREED


@pytest.mark.parametrize(
    ("address", "known"),
    [
        (("192.0.2.7", 5000), ConnectionOrigin("192.0.2.7:5000", "192.0.2.7", 5000)),
        (("::1", 5000, 0, 3), ConnectionOrigin("[::1]:5000", "::1", 5000, 3)),
        ("", ConnectionOrigin("unix")),
        (ConnectionOrigin("unix", uid=33, pid=7), ConnectionOrigin("unix", uid=33, pid=7)),
    ],
)
def test_a_session_is_asked_for_what_only_it_knows(address, known):
    session = Session()
    late = LateOrigin(address, session)
    assert (late.peer, late.uid) == (known.peer, known.uid)
    assert session.asked == 0
    assert late.tls is AGREED
    assert late.find(NOBODY) == replace(known, tls=AGREED)
