"""The command ``anaheadless``: its subcommands, and what they have in common."""

from __future__ import annotations

import os
from typing import Any

import click

from anaheadless import __version__
from anaheadless.cli import doctor, run, sessions, start
from anaheadless.cli import map as mapping
from anaheadless.cli.parameters import CONTEXT, Group


class Commands(Group):
    """The group of all commands."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and os.path.exists(args[0]):
            raise click.UsageError(
                f"There is no command {args[0]!r}. To run a script: {ctx.info_name} run {args[0]}", ctx
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings=CONTEXT, epilog=run.EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Run graphical programs on a machine without a screen.

    Your program gets an X display of its own, and runs as if you had called it directly: same process, same standard
    streams, same exit status. Nothing is left behind, however it ends.
    """


for command in (
    *(run.run, run.exec_, mapping.map_, mapping.journal, start.start, doctor.doctor),
    *(sessions.list_, sessions.stop, sessions.clean, sessions.screenshot, sessions.view),
):
    cli.add_command(command)
