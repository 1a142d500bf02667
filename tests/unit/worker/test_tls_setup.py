"""A connection with TLS begins without asking its session what was agreed on."""

import ssl
from contextlib import closing

import pytest

from host.tls.session import Session
from support.certificates import Authority
from support.pairs import Served


@pytest.fixture
def asked(monkeypatch):
    """The sessions that were asked."""
    sessions, info = [], Session.info

    def counted(session):
        sessions.append(session)
        return info(session)

    monkeypatch.setattr(Session, "info", counted)
    return sessions


def test_nobody_pays_for_what_nobody_asks(tmp_path, asked):
    with closing(Served(Authority(tmp_path), ssl.TLSVersion.TLSv1_3)) as scene:
        connection, _peer = scene.meet()
        assert connection.peer.startswith("127.0.0.1:")
        assert asked == []
        assert connection.tls.version == connection.origin.tls.version == "TLSv1.3"
        before = len(asked)
        assert connection.tls is connection.origin.tls  # it is kept with all that is known
        assert len(asked) == before
