"""The command ``anaheadless``: its subcommands, and what they have in common."""

from __future__ import annotations

import os
from typing import Any

import click

from anaheadless import __version__
from anaheadless.cli import completion, doctor, run, sessions, start
from anaheadless.cli import map as mapping
from anaheadless.cli.parameters import CONTEXT, Command, Group
from anaheadless.launch import target


class Commands(Group):
    """The group of all commands."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        meant = target.meant_by(args, os.get_exec_path()) if args[0] not in self.commands else ""
        if meant:
            raise click.UsageError(f"There is no command {args[0]!r}. Did you mean: {ctx.info_name} {meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings=CONTEXT, epilog=run.EPILOG)
@click.version_option(__version__, "--version", "-V", message="%(prog)s %(version)s")
def cli() -> None:
    """Run graphical programs on a machine without a screen.

    Your program gets an X display of its own, and runs as if you had called it directly: same process, same standard
    streams, same exit status. Nothing is left behind, however it ends.
    """


@click.command("help", cls=Command, context_settings=CONTEXT)
@click.argument("command", required=False)
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command."""
    if command is None:
        click.echo(cli.get_help(ctx.find_root()))
        return
    name, found, _ = cli.resolve_command(ctx.find_root(), [command])
    found.make_context(name, ["--help"], parent=ctx.parent)


for command in (
    *(run.run, run.exec_, mapping.map_, mapping.journal, start.start, doctor.doctor),
    *(sessions.list_, sessions.stop, sessions.clean, sessions.screenshot, sessions.view),
    *(completion.completion, help_),
):
    cli.add_command(command)
