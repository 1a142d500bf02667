"""Echo with a Twisted protocol."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

BACKLOG = 4096


class Echo(Protocol):
    """Sends back what it receives."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


if __name__ == "__main__":
    endpoint = TCP4ServerEndpoint(reactor, 0, backlog=BACKLOG, interface="127.0.0.1")
    listening = endpoint.listen(Factory.forProtocol(Echo))
    listening.addCallback(lambda port: print("port", port.getHost().port, flush=True))
    reactor.run()
