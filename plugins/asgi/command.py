"""The command `asgi`: the short form for a host that serves one app."""

from __future__ import annotations

import click


@click.command("asgi")
@click.argument("app", metavar="MODULE:APP")
@click.option("--factory", is_flag=True, help="APP is a function that makes the app.")
@click.option("--root-path", metavar="PATH", help="Path below which a proxy shows the app.")
@click.option(
    "--forwarded-allow-ips",
    metavar="ADDRESSES",
    help="Proxies whose X-Forwarded-For is believed, with commas between them.",
)
def asgi(
    app: str, factory: bool, root_path: str | None, forwarded_allow_ips: str | None
) -> list[str]:
    """Serve an ASGI app: MODULE:APP, such as main:app.

    It is short for `run --plugin asgi --set options.asgi.app=MODULE:APP`, and takes all flags of
    `run`.
    """
    options = {
        "app": app,
        "factory": "true" if factory else None,
        "root_path": root_path,
        "forwarded_allow_ips": forwarded_allow_ips,
    }
    flags = ["--plugin", "asgi"]
    for key, value in options.items():
        if value is not None:
            flags += ["--set", f"options.asgi.{key}={value}"]
    return flags
