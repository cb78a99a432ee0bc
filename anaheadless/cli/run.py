"""The commands that run a program: ``run`` and ``exec``, and ``anaheadless-python``."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import click

from anaheadless.cli import completion, misplaced
from anaheadless.cli.parameters import CONTEXT, Configured, effective_settings, table_options
from anaheadless.cli.xvfb_run import applied, xvfb_run_options
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.options import Options

EPILOG = """\b
Examples:
  anaheadless run render.py --views 3      a script, and its own arguments
  anaheadless run -m pytest tests          a module
  anaheadless exec ./viewer brain.gii      any other program
  anaheadless run --gl none form.py        without OpenGL: takes a fifth of the memory

The exit status is that of your program. Otherwise: 2 for wrong usage, 125 if anaheadless failed, 126 if your program
can't be executed, 127 if it was not found.

\b
A variable can set an option, as ANAHEADLESS_GL sets --gl, and so can a file:
the script's own [tool.anaheadless] (PEP 723), or
~/.config/anaheadless/config.toml."""


class LastOption(click.Option):
    """An option that ends the options, as python's own ``-m MODULE`` and ``-c CODE`` do: the rest is your program's."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        option = parser._short_opt[self.opts[0]]
        process = option.process

        def process_and_stop(value: str, state: Any) -> None:
            process(value, state)
            state.largs.extend(state.rargs)
            state.rargs.clear()

        option.process = process_and_stop


@click.command(cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@table_options("run")
@click.option("--show-config", is_flag=True, help="Print the effective settings and where each comes from, then exit.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...", shell_complete=completion.files)
def run(
    args: tuple[str, ...],
    module: str | None,
    code: str | None,
    python: str,
    show_config: bool,
    environ: dict[str, str],
    options: Options,
) -> None:
    """Run a Python program with a display of its own.

    SCRIPT is a file, a directory or zip file with a __main__, or - for standard input. Everything after SCRIPT, or
    after -m MODULE or -c CODE, belongs to your program.
    """
    search = os.get_exec_path(environ)
    if module is not None:
        program = target.python(python, ("-m", module, *args), search)
    elif code is not None:
        program = target.python(python, ("-c", code, *args), search)
    elif args:
        program = target.script(python, args[0], args[1:], search)
        if not (options.quiet or show_config):
            misplaced.say(target.script_among(("--", *args)), args)
    elif show_config:
        program = target.python(python, (), search)
    else:
        raise click.UsageError("Nothing to run: give a SCRIPT, -m MODULE or -c CODE.")
    if show_config:
        for line in effective_settings(click.get_current_context()):
            click.echo(os.fsencode(line))
    else:
        launch.run(program, options, environ, program.executable)


@click.command("exec", cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@table_options("exec")
@xvfb_run_options(hidden=True)
@click.argument("command", type=click.UNPROCESSED, shell_complete=completion.programs)
@click.argument("args", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.files)
def exec_(command: str, args: tuple[str, ...], environ: dict[str, str], options: Options, **given: Any) -> NoReturn:
    """Run any COMMAND with a display of its own.

    ARGS belong to your program. The options of xvfb-run are understood, too; see anaheadless-xvfb-run.
    """
    program = target.command(command, args, os.get_exec_path(environ))
    launch.run(program, applied(options, given), environ)


@click.command(cls=Configured, context_settings=CONTEXT, add_help_option=False)  # --help is the interpreter's
@table_options("python")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def python(args: tuple[str, ...], python: str, environ: dict[str, str], options: Options) -> NoReturn:
    """Run the Python interpreter with a display of its own; all options and arguments belong to it."""
    search = os.get_exec_path(environ)
    program = target.python_call(python, args, search)
    launch.run(program, options, environ, program.executable)
