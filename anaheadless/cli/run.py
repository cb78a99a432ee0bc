"""The commands that run a program: ``run`` and ``exec``, and ``anaheadless-python``."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, NoReturn

import click

from anaheadless.cli import completion, config_file, misplaced
from anaheadless.cli.parameters import CONTEXT, Configured, ParameterSource, effective_settings, table_options
from anaheadless.cli.xvfb_run import applied, xvfb_run_options
from anaheadless.errors import print_stderr
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.launch.run import Launch
from anaheadless.options import Options
from anaheadless.system.programs import default_python, this_python

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


ask_tools_option = click.option(
    "-vv", "ask_tools", is_flag=True, help="Report also what xdpyinfo, glxinfo, eglinfo, vulkaninfo and vglrun say."
)


@click.command(cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@table_options("run")
@ask_tools_option
@click.option("--show-config", is_flag=True, help="Print the effective settings and where each comes from, then exit.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...", shell_complete=completion.files)
def run(
    args: tuple[str, ...],
    module: str | None,
    code: str | None,
    python: str,
    ask_tools: bool,
    show_config: bool,
    environ: dict[str, str],
    options: Options,
) -> None:
    """Run a Python program with a display of its own.

    SCRIPT is a file, a directory or zip file with a __main__, or - for standard input. Everything after SCRIPT, or
    after -m MODULE or -c CODE, belongs to your program.
    """
    search = os.get_exec_path(environ)
    script = target.script_among(("--", *args)) if module is None and code is None and args else None
    if not show_config:
        python = _interpreter(python, script, environ, options)
    if module is not None:
        program = target.python(python, ("-m", module, *args), search)
    elif code is not None:
        program = target.python(python, ("-c", code, *args), search)
    elif args:
        program = target.script(python, args[0], args[1:], search)
        if not (options.quiet or show_config):
            misplaced.say(script, args)
    elif show_config:
        program = target.python(python, (), search)
    else:
        raise click.UsageError("Nothing to run: give a SCRIPT, -m MODULE or -c CODE.")
    if show_config:
        for line in effective_settings(click.get_current_context()):
            click.echo(os.fsencode(line))
    else:
        _launch(program, options, environ, program.executable, ask_tools=ask_tools)


def _launch(
    program: target.Target, options: Options, environ: dict[str, str], *python: str, ask_tools: bool
) -> NoReturn:
    if ask_tools:
        look = partial(_ask_other_tools, options.probe_timeout)
        launch.run(program, options.replace(verbose=True), environ, *python, look=look)
    launch.run(program, options, environ, *python)


def _ask_other_tools(timeout: float, ready: Launch) -> None:
    """Say on standard error what the usual tools say of OpenGL in a session."""
    from anaheadless.diagnostics import field_tools  # only here: few runs are looked at so closely
    from anaheadless.opengl import hardware

    virtualgl = hardware.detect(ready.environ).virtualgl
    for answer in field_tools.ask(ready.environ, virtualgl.vglrun if virtualgl else None, timeout):
        print_stderr(f"anaheadless: {field_tools.in_words(answer)}")


def _interpreter(python: str, script: str | None, environ: dict[str, str], options: Options) -> str:
    """Return the interpreter for the *script*, or for whatever else is run: *python*, or the one that uv has made.

    :raises click.UsageError: --uv can't be used here.
    """
    ctx = click.get_current_context()
    values, settings = ctx.obj
    uv, named = (ctx.get_parameter_source(name) for name in ("uv", "python"))
    is_named = named is not ParameterSource.DEFAULT or ("python",) in settings
    if values["uv"] and uv is ParameterSource.COMMANDLINE:
        if named is ParameterSource.COMMANDLINE:
            raise click.UsageError("--uv and --python contradict each other.")
        if script is None:
            raise click.UsageError("--uv needs a SCRIPT.")
    why = _why(python, environ)
    if values["uv"] and script is not None and named is not ParameterSource.COMMANDLINE:
        from anaheadless.launch.uv import script_python  # only here: subprocess is slow to import

        quiet = options.quiet or not os.isatty(2)
        python, why = script_python(script, environ, quiet=quiet), "which uv has made for the script"
    elif script is not None and not (is_named or options.quiet):
        decided = uv is not ParameterSource.DEFAULT or ("uv",) in settings
        source = b"" if decided else config_file.read_beginning(script)
        if config_file.wants_more(source, script, in_this_python=python == this_python()):
            print_stderr(
                f"anaheadless: {script} asks for packages or a Python (PEP 723) that are not used: "
                f"it runs in {python}\n"
                "  To use them: --uv, or uv = true in its [tool.anaheadless]. Without this note: uv = false"
            )
    if options.verbose:
        print_stderr(f"anaheadless: interpreter: {python}, {why}")
    return python


def _why(python: str, environ: dict[str, str]) -> str:
    default, why = default_python(environ)
    return why if python == default else "as asked for"


@click.command("exec", cls=Configured, context_settings=CONTEXT, epilog=EPILOG)
@table_options("exec")
@ask_tools_option
@xvfb_run_options(hidden=True)
@click.argument("command", type=click.UNPROCESSED, shell_complete=completion.programs)
@click.argument("args", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.files)
def exec_(
    command: str, args: tuple[str, ...], ask_tools: bool, environ: dict[str, str], options: Options, **given: Any
) -> NoReturn:
    """Run any COMMAND with a display of its own.

    ARGS belong to your program. The options of xvfb-run are understood, too; see anaheadless-xvfb-run.
    """
    program = target.command(command, args, os.get_exec_path(environ))
    _launch(program, applied(options, given), environ, ask_tools=ask_tools)


@click.command(cls=Configured, context_settings=CONTEXT, add_help_option=False)  # --help is the interpreter's
@table_options("python")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def python(args: tuple[str, ...], python: str, environ: dict[str, str], options: Options) -> NoReturn:
    """Run the Python interpreter with a display of its own; all options and arguments belong to it."""
    search = os.get_exec_path(environ)
    program = target.python_call(python, args, search)
    if options.verbose:
        print_stderr(f"anaheadless: interpreter: {python}, {_why(python, environ)}")
    launch.run(program, options, environ, program.executable)
