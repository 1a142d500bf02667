"""What the host has for an option that it has not: those of other servers, and settings."""

from __future__ import annotations

import click

from host.settings import Settings, nearest
from host.settings.address import EXAMPLE, PARTS_OF_AN_ADDRESS
from host.settings.fields import leaves
from host.text import suggest

ADVICE = {
    f"an address is set with --listen {EXAMPLE}": "address b fd listener p",
    "a Unix socket is listened on with --listen unix:/path": "socket uds unix-socket",
    "backlog is a key of an address in the settings file": "backlog",
    "worker processes are asked for with --workers N": "w worker processes",
    "a worker has one thread, and there are --workers N": "threads k worker-class loop",
    "`reload` and SIGHUP take on new code, and lose no connection": "reload auto-reload reload-dir",
    "the log goes to a file with --set log.file=FILE": "log-file logfile error-logfile",
    "each connection is logged with --set log.access=true": "access-log access-logfile",
    "the command `check` does that": "check-config test",
    "the command `settings` does that": "print-config",
    "the host stays in the foreground; a service manager does that": "d daemon pid",
    "the host becomes another user with --user NAME": "u uid",
    "the host becomes one of another group with --set process.group=NAME": "g gid group",
    "certificates are in tables [tls.NAME] of the settings file, which listeners name with tls": (
        "ca-certs cert certfile key keyfile ssl ssl-ca-certs ssl-certfile ssl-keyfile"
        " ssl-keyfile-password tls"
    ),
    "versions and ciphers are the profile of a table [tls.NAME] in the settings file": (
        "ciphers ssl-ciphers ssl-version tls-version"
    ),
    "`clients` of a table [tls.NAME] in the settings file says who needs a certificate": (
        "cert-reqs ssl-cert-reqs"
    ),
    "proxy and proxy_from are keys of an address in the settings file": (
        "proxy-allow-from proxy-protocol"
    ),
    "the settings file is named with --config FILE": "c conf config-file",
    "the host is named with --name NAME": "n proc-name",
    "plugins are selected with --plugin NAME": "app factory plugins",
    "--set limits.idle_timeout_seconds=60 does that": "keep-alive timeout-keep-alive",
    "--set lifecycle.hang_seconds=4 says how long a worker may not get on": "t timeout",
    "--set lifecycle.drain_timeout_seconds=30 does that": (
        "graceful-timeout timeout-graceful-shutdown"
    ),
    "--set lifecycle.max_connections_served=10000 does that": "max-requests limit-max-requests",
    "--set limits.max_connections_per_worker=1000 does that": (
        "limit-concurrency worker-connections max-connections"
    ),
}
"""What there is, and the names that it has elsewhere."""
_BY_NAME = {name: advice for advice, names in ADVICE.items() for name in names.split()}
_BY_NAME |= dict.fromkeys(PARTS_OF_AN_ADDRESS, next(iter(ADVICE)))


def unknown_option(error: click.NoSuchOption) -> click.UsageError:
    """Return what is told of an option that a command does not have."""
    params = error.ctx.command.params if error.ctx else ()
    flags = [each for param in params for each in param.opts if each.startswith("--")]
    name = error.option_name.lstrip("-").lower()
    advice = _BY_NAME.get(name) or _setting(name)
    if advice and "--listen" in flags:  # a command that takes settings
        tail = f": {advice}"
    else:
        tail = suggest(nearest(error.option_name, flags))
    return click.UsageError(f"No such option {error.option_name}{tail}", error.ctx)


def _setting(name: str) -> str | None:
    """Return how a setting is given whose key, or the end of it, is written as an option."""
    words = name.replace("-", "_").replace(".", "_")
    for path, _ in leaves(Settings):
        if words in (path[-1], "_".join(map(str, path))):
            return f"a setting is given with --set {'.'.join(map(str, path))}=VALUE"
    return None
