"""The command `settings`: the effective settings, their schema, the presets."""

from __future__ import annotations

import json

import click

from host import settings
from host.cli.flags import Sources, with_sources
from host.plugin.loading import load


@click.command("settings")
@with_sources
@click.argument("what", type=click.Choice(["schema", "presets"]), required=False)
def show_settings(sources: Sources, what: str | None) -> None:
    """Print the effective settings and where each comes from.

    `settings schema` prints the JSON Schema of the settings file, `settings presets` the presets.
    """
    if what == "presets":
        click.echo("\n".join(settings.preset_names()))
        return
    loaded = sources.load()
    registry = load(loaded)
    if what == "schema":
        models = {
            plugin.name: plugin.options_model
            for plugin in registry.plugins
            if plugin.options_model is not None
        }
        click.echo(json.dumps(settings.schema(models), indent=2))
        return
    click.echo(settings.render_text(settings.render(loaded, registry.options)), nl=False)
