"""Words in, words out: the command line."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click

from anaheadless import __version__, launch, target
from anaheadless.display import Screen, parse_screen
from anaheadless.errors import LaunchError, say
from anaheadless.opengl import BACKENDS, VGL_DISPLAY, Wishes

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

EPILOG = """\b
Examples:
  anaheadless run render.py --views 3      a script, and its own arguments
  anaheadless run -m pytest tests          a module
  anaheadless exec ./viewer brain.gii      any other program
  anaheadless run --gl none form.py        no OpenGL: starts in half the time

The target's exit status is the command's own. 125: the launcher failed, 126: the target can't be executed,
127: it was not found, 2: wrong usage."""


class ScreenType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    name = "WIDTHxHEIGHT[xDEPTH]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Screen:
        if isinstance(value, Screen):
            return value
        try:
            return parse_screen(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class VglDisplay(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "egl|eglN|/dev/dri/cardN|:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not VGL_DISPLAY.fullmatch(value):
            self.fail(f"{value!r} is none of {self.name}.", param, ctx)
        return str(value)


class Seconds(click.FloatRange):
    """A time limit: more than none, and no more than an hour."""

    def __init__(self) -> None:
        super().__init__(0, 3600, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class LastOption(click.Option):
    """An option after which everything is the target's, as after python's own ``-m MODULE`` and ``-c CODE``."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        option = parser._short_opt[self.opts[0]]
        process = option.process

        def process_and_stop(value: str, state: Any) -> None:
            process(value, state)
            state.largs.extend(state.rargs)
            state.rargs.clear()

        option.process = process_and_stop


def _option(*names: str, **settings: Any) -> Decorator:
    """An option that may also come from a variable: ``--start-timeout`` from ANAHEADLESS_START_TIMEOUT."""
    variable = "ANAHEADLESS_" + max(names, key=len).lstrip("-").upper().replace("-", "_")
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def _server_options(function: Function) -> Function:
    for option in reversed(_SERVER_OPTIONS):
        option(function)  # click notes it on the function itself
    return function


_SERVER_OPTIONS: tuple[Decorator, ...] = (
    _option(
        "--screen",
        type=ScreenType(),
        metavar=ScreenType.name,
        default=str(Screen()),
        show_default=True,
        help="Size in pixels, and depth in bits, of the virtual screen.",
    ),
    _option("--dpi", type=click.IntRange(1, 1000), metavar="N", help="Dots per inch of the screen."),
    _option(
        "--gl",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="Where OpenGL comes from; auto: the best that draws, none: nowhere, which starts in half the time.",
    ),
    _option("--no-virtualgl", is_flag=True, help="Leave VirtualGL alone."),
    _option(
        "--vgl-display",
        type=VglDisplay(),
        metavar=VglDisplay.name,
        help="What VirtualGL renders on.  [default: VGL_DISPLAY, else the first GPU, else the caller's DISPLAY]",
    ),
    _option("--vgl-no-dlfaker", is_flag=True, help="VirtualGL without its dlopen() interposer, as vglrun -nodl."),
    _option(
        "--server-arg",
        multiple=True,
        metavar="ARG",
        help="A further argument for Xvfb; repeatable: --server-arg=-maxclients --server-arg=512",
    ),
    _option(
        "--start-timeout",
        type=Seconds(),
        default=launch.Options.start_timeout,
        show_default=True,
        metavar="SECONDS",
        help="How long the X server may take until it is ready.",
    ),
    _option(
        "--probe-timeout",
        type=Seconds(),
        default=launch.Options.probe_timeout,
        show_default=True,
        metavar="SECONDS",
        help="How long one way to OpenGL may take to prove itself; all of them, three times as long.",
    ),
    _option(
        "--no-shim",
        is_flag=True,
        help="Leave import anatomist.headless, in Python programs, to the one that is installed.",
    ),
    _option("-v", "--verbose", is_flag=True, help="Say on stderr what is done."),
)
_python_option = _option(
    "--python",
    default=target.this_python,
    metavar="PATH",
    help="The interpreter to use.  [default: the one that anaheadless is installed in]",
)
_SETTINGS: dict[str, Any] = {"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}


class Commands(click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and os.path.exists(args[0]):
            raise click.UsageError(
                f"There is no command {args[0]!r}. To run a script: {ctx.info_name} run {args[0]}", ctx
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings=_SETTINGS, epilog=EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Run a graphical program on a machine without a screen.

    It gets an X display of its own, and then runs as if it had been called directly: same process, same standard
    streams, same exit status. Nothing is left behind, however it ends.
    """


@cli.command(context_settings=_SETTINGS, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@_python_option
@_server_options
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
def run(args: tuple[str, ...], module: str | None, code: str | None, python: str, **settings: Any) -> NoReturn:
    """Run a Python program: SCRIPT is a file, a directory or zip file with a __main__, or - for standard input.

    All that comes after it, or after -m MODULE or -c CODE, is the program's own.
    """
    environ = launch.inherited_environment()
    search = os.get_exec_path(environ)
    if module is not None:
        program = target.python(python, ("-m", module, *args), search)
    elif code is not None:
        program = target.python(python, ("-c", code, *args), search)
    elif args:
        program = target.script(python, args[0], args[1:], search)
    else:
        raise click.UsageError("Missing what to run: a SCRIPT, -m MODULE or -c CODE.")
    launch.run(program, _launch_options(**settings), environ, program.executable)


@cli.command("exec", context_settings=_SETTINGS, epilog=EPILOG)
@_server_options
@click.argument("command", type=click.UNPROCESSED)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def exec_(command: str, args: tuple[str, ...], **settings: Any) -> NoReturn:
    """Run any COMMAND, with its own ARGS."""
    environ = launch.inherited_environment()
    program = target.command(command, args, os.get_exec_path(environ))
    launch.run(program, _launch_options(**settings), environ)


@click.command(context_settings=_SETTINGS)
@_python_option
@_server_options
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def python(args: tuple[str, ...], python: str, **settings: Any) -> NoReturn:
    """What anaheadless-python is: the interpreter, with its own options and arguments."""
    environ = launch.inherited_environment()
    search = os.get_exec_path(environ)
    if args and not args[0].startswith("-"):
        program = target.script(python, args[0], args[1:], search)
    else:
        program = target.python(python, args, search)
    launch.run(program, _launch_options(**settings), environ, program.executable)


@cli.command(context_settings=_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, as docs/doctor.rst describes it.")
@click.option(
    "--render", type=click.Path(dir_okay=False, writable=True), metavar="FILE.png", help="Save the proof's picture."
)
@_python_option
@_server_options
def doctor(as_json: bool, render: str | None, python: str, **settings: Any) -> NoReturn:
    """Say what run would find here, what it would choose and why, and what to install.

    Exit status: 0 when run would work, 1 when not.
    """
    from anaheadless import doctor as examination  # only here: a run has no need of it

    if render is not None and settings["gl"] == "none":
        raise click.UsageError("--render and --gl none contradict each other.")
    environ = launch.inherited_environment()
    interpreter = target.python(python, (), os.get_exec_path(environ)).executable
    report = examination.examine(_launch_options(**settings), environ, interpreter, render)
    if as_json:
        click.echo(examination.as_json(report))
    else:
        section = ""
        for finding in examination.findings(report):
            if finding.section != section:
                section = finding.section
                click.secho(section, bold=True)
            mark, colour = {True: ("ok", "green"), False: ("!!", "red"), None: ("  ", None)}[finding.good]
            click.echo(f"  {click.style(mark, fg=colour)} {finding.text}")
    sys.exit(0 if report["works"] else 1)


def _launch_options(
    gl: str,
    no_virtualgl: bool,
    vgl_display: str | None,
    vgl_no_dlfaker: bool,
    server_arg: tuple[str, ...],
    no_shim: bool,
    **rest: Any,
) -> launch.Options:
    if no_virtualgl and gl == "virtualgl":
        raise click.UsageError("--gl virtualgl and --no-virtualgl contradict each other.")
    wishes = None
    if gl != "none":
        wishes = Wishes(gl, not no_virtualgl, vgl_display=vgl_display, vgl_dlfaker=not vgl_no_dlfaker)
    return launch.Options(wishes=wishes, server_args=server_arg, shim=not no_shim, **rest)


def main() -> None:
    """The command ``anaheadless``."""
    _main(cli, sys.argv[1:], "anaheadless")


def main_python() -> None:
    """The command ``anaheadless-python``: an interpreter with a display, whose options are all python's own."""
    _main(python, ["--", *sys.argv[1:]], "anaheadless-python")


def _main(command: click.Command, args: Sequence[str], name: str) -> None:
    # A ^C ends us as it ends any program; what was started by then is cleaned up by the keeper.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # click would take stdout; it is closed again when the target starts
    try:
        command.main(args, prog_name=name)
    except LaunchError as error:
        say(str(error))
        sys.exit(error.exit_code)
