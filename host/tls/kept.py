"""Files of certificates that root has read for a host whose user may not read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from host.runtime.accounts import Account
from host.runtime.guided import LedError, open_unled
from host.runtime.privileges import acting_as
from host.tls.pem import read_descriptor, read_file, seal, unseal

Seen = tuple[int, int, int, int] | None
"""What is seen of a file without reading it; None if nothing is."""
CURE = (
    "restart the host, or let its user read it: by a group, or as a credential of the service"
    " manager (LoadCredential=)"
)


class KeptFiles:
    """What root has read; it is in a file in memory, which nobody can change.

    Args:
        descriptor: that file, of `Keeper.sealed`; it stays the caller's.

    Raises:
        ValueError: somebody else has written it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        facts = json.loads(unseal(descriptor)[0])
        self._files: dict[str, tuple[int, Seen]] = {
            path: (number, tuple(seen) if seen else None)
            for number, (path, seen) in enumerate(facts, 1)
        }

    @property
    def paths(self) -> list[str]:
        """The paths of all files that are kept."""
        return list(self._files)

    def read(self, path: str) -> bytes:
        """Return what is in a file, or what root has read of it if the user may not read it.

        Raises:
            OSError, ValueError: it can be had neither way.
        """
        try:
            return read_file(path)
        except PermissionError:
            if path not in self._files:
                raise
            return unseal(self._descriptor)[self._files[path][0]]

    def stale(self, paths: Iterable[str]) -> str:
        """Say what may have been replaced since root has read it, and what to do; "" if nothing.

        Args:
            paths: the files to look at.
        """
        names = [path for path in paths if path in self._files and self._may_differ(path)]
        if not names:
            return ""
        return (
            f"{', '.join(names)} cannot be read again: root has read it when the host started, and"
            f" the user of the host may not. If it has been replaced, {CURE}"
        )

    def _may_differ(self, path: str) -> bool:
        """Tell whether the user may not read it, and sees that it differs or sees nothing of it."""
        seen = look_at(path)
        return (seen is None or seen != self._files[path][1]) and not os.access(path, os.R_OK)


class Keeper:
    """Reads files as a user, and as root what that user may not read: that is kept.

    Args:
        account: the user that this process of root's is to become.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._files: dict[str, tuple[Seen, bytes]] = {}

    def read(self, path: str) -> bytes:
        """Return what is in a file.

        Raises:
            OSError, ValueError: neither can read it, or root could be led elsewhere by the user.
        """
        with acting_as(self._account):
            seen = look_at(path)
            try:
                return read_file(path)
            except PermissionError:
                pass
        try:
            descriptor = open_unled(path, self._account)
        except LedError as error:
            raise ValueError(
                f"the user of the host may not do so, and root does not do it, since {error} and"
                " could lead root to any file"
            ) from None
        try:
            data = read_descriptor(descriptor)
        finally:
            os.close(descriptor)
        self._files[path] = seen, data
        return data

    def sealed(self) -> int | None:
        """Write what is kept into a file in memory; None if there is nothing to keep.

        The caller closes it.
        """
        if not self._files:
            return None
        facts = [(path, seen) for path, (seen, _) in self._files.items()]
        return seal([json.dumps(facts).encode(), *(data for _, data in self._files.values())])


def look_at(path: str) -> Seen:
    """Return what differs if a file was replaced, written to, or opened to other users (inode(7)).

    Returns:
        None if nothing is seen of it.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size
