"""Commands that have commands of their own."""

from __future__ import annotations

import click

from host.settings import nearest
from host.text import suggest


class SuggestingGroup(click.Group):
    """A group that names the nearest command if there is none of the name that was typed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of one that there is not, name the nearest of all that there are."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            near = suggest(nearest(args[0], self.list_commands(ctx)))
            ctx.fail(f'there is no command "{args[0]}"{near}')
        return super().resolve_command(ctx, args)
