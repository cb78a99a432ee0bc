"""The command ``completion``, and the words that it lets a shell complete."""

from __future__ import annotations

import os
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from anaheadless.cli.parameters import CONTEXT, Command

PROGRAM = "anaheadless"


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and sessions.

    \b
      bash: echo 'eval "$(anaheadless completion bash)"' >>~/.bashrc
      zsh:  echo 'eval "$(anaheadless completion zsh)"' >>~/.zshrc
      fish: anaheadless completion fish >~/.config/fish/completions/anaheadless.fish
    """  # noqa: D301
    kind = get_completion_class(shell)
    assert kind is not None
    # Without click's own source(): it starts bash to ask for its version.
    shown = kind(click.Command(PROGRAM), {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    click.echo(shown.source_template % shown.source_vars())


def files(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    return [CompletionItem(begun, type="file")]


def programs(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """List the programs on PATH, or let the shell complete a path."""
    if os.sep in begun:
        return files(ctx, parameter, begun)
    found = set()
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            found |= {entry.name for entry in os.scandir(folder) if entry.name.startswith(begun)}
    return [CompletionItem(name) for name in sorted(found)]


def sessions(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """List the displays of the running sessions; without the colon, which bash takes for the end of a word."""
    from anaheadless.session import discovery

    numbers = sorted(each.display[1:] for each in discovery.sessions())
    return [CompletionItem(number) for number in numbers if number.startswith(begun.lstrip(":"))]
