"""Who may come in at one listener, and who says first whose connection it is."""

from __future__ import annotations

from host.net.networks import Networks
from host.settings import Listen, Settings
from host.worker.client_limits import ClientLimit

_VERSIONS = {"v1": frozenset({1}), "v2": frozenset({2}), "any": frozenset({1, 2})}


class AccessRules:
    """Who may come in at one listener.

    Args:
        listen: the listener's settings.
        clients: what one client may do there; None for anything.

    Attributes:
        admit_all: whether no peer is refused for who it is, and none says first who it is.
    """

    def __init__(self, listen: Listen, clients: ClientLimit | None = None) -> None:
        self.clients = clients
        self._allow, self._deny = Networks(listen.allow), Networks(listen.deny)
        self._proxies = Networks(each for each in listen.proxy_from if each != "unix")
        self._unix_proxies = "unix" in listen.proxy_from
        self.versions = _VERSIONS.get(listen.proxy)
        self.admit_all = not (self._allow or self._deny or self.versions)
        self.others_are_refused = listen.proxy_others == "refuse"

    @property
    def is_open(self) -> bool:
        """Whether everybody may come in at once, as often as they like."""
        return self.admit_all and self.clients is None

    def admits(self, host: str) -> bool:
        """Tell whether a client with this IP address may come in."""
        if self._deny and host in self._deny:
            return False
        return not self._allow or host in self._allow

    def is_proxy(self, host: str | None) -> bool:
        """Tell whether a peer is a proxy, which says first whose connection it is."""
        if self.versions is None:
            return False
        return self._unix_proxies if host is None else host in self._proxies


def some_are_asked(settings: Settings) -> bool:
    """Tell whether at some listener not everybody may come in at once."""
    return settings.counts_clients or not all(
        AccessRules(each).is_open for each in settings.listens
    )
