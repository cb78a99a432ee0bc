"""Words in, words out: the command line."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from io import StringIO
from typing import Any, NoReturn, TypeVar

import click

from anaheadless import __version__, options
from anaheadless.cli import config_file
from anaheadless.cli.config_file import Setting
from anaheadless.errors import LaunchError, print_stderr, printable
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.options import BACKENDS, VGL_DISPLAY, OpenGLRequest, Options, Screen, parse_duration, parse_screen
from anaheadless.session import leftovers, protocol
from anaheadless.system import programs

Function = TypeVar("Function", bound=Callable[..., Any])
ParameterSource = click.core.ParameterSource
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

EPILOG = """\b
Examples:
  anaheadless run render.py --views 3      a script, and its own arguments
  anaheadless run -m pytest tests          a module
  anaheadless exec ./viewer brain.gii      any other program
  anaheadless run --gl none form.py        no OpenGL: takes a fifth of the memory

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
            self.fail(f"{value!r} is not one of {self.name}.", param, ctx)
        return str(value)


class Area(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A part of a screen, as X clients' -geometry names it."""

    name = "WIDTHxHEIGHT+X+Y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})", value, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            self.fail(f"{value!r} is not {self.name}, such as 640x480+0+0.", param, ctx)
        width, height, x, y = map(int, match.groups())
        return width, height, x, y


class WholeNumber(click.IntRange):
    name = "whole number"


class Seconds(click.FloatRange):
    """A time limit: more than none, and no more than an hour."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(0, 3600, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


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


def _with(options: Sequence[Decorator], function: Function) -> Function:
    for option in reversed(options):
        option(function)  # click notes it on the function itself
    return function


def _server_options(function: Function) -> Function:
    return _with(_SERVER_OPTIONS, function)


def _watch_options(function: Function) -> Function:
    return _with(_WATCH_OPTIONS, function)


_SERVER_OPTIONS: tuple[Decorator, ...] = (
    _option(
        "--screen",
        type=ScreenType(),
        metavar=ScreenType.name,
        default=str(Screen()),
        show_default=True,
        help="Size in pixels, and depth in bits, of the virtual screen.",
    ),
    _option("--dpi", type=WholeNumber(1, 1000), metavar="N", help="Dots per inch of the screen."),
    _option(
        "--gl",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="Where OpenGL comes from; auto: the best that draws, none: nowhere, which takes a fifth of the memory.",
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
        default=Options.start_timeout,
        show_default=True,
        metavar="SECONDS",
        help="How long the X server may take until it is ready.",
    ),
    _option(
        "--probe-timeout",
        type=Seconds(),
        default=Options.probe_timeout,
        show_default=True,
        metavar="SECONDS",
        help="How long one way to OpenGL may take to prove itself; all of them, three times as long.",
    ),
    _option("--fresh", is_flag=True, help="Prove OpenGL even if a run within the last hour has."),
    _option(
        "--no-shim",
        is_flag=True,
        help="Leave import anatomist.headless, in Python programs, to the one that is installed.",
    ),
    _option("-v", "--verbose", is_flag=True, help="Say on stderr what is done."),
)
_WATCH_OPTIONS: tuple[Decorator, ...] = (
    _option(
        "--timeout", type=Duration(), metavar="DURATION", help="End the target after that time: 90, 90s, 1.5m, 2h."
    ),
    _option(
        "--grace",
        type=Duration(),
        default=options.RunLimits.grace,
        show_default="10s",
        metavar="DURATION",
        help="How long it may take to end, after SIGTERM, before SIGKILL.",
    ),
    _option(
        "--screenshot-on-timeout",
        type=click.Path(dir_okay=False, writable=True),
        metavar="FILE.png",
        help="Save the screen when the time is up.",
    ),
    _option(
        "--log",
        type=click.Path(dir_okay=False, writable=True, allow_dash=False),
        metavar="FILE",
        help="Append there what happens to the session, and what the X server says.",
    ),
    _option(
        "--record",
        type=click.Path(dir_okay=False, writable=True, allow_dash=False),
        metavar="FILE.mp4",
        help="Film the screen, with ffmpeg, until the target has ended.",
    ),
    _option(
        "--supervise",
        is_flag=True,
        help="Stay in front of the target, and come back when nothing is left; always so as PID 1 of a container.",
    ),
)
_python_option = _option(
    "--python",
    default=programs.this_python,
    metavar="PATH",
    help="The interpreter to use.  [default: the one that anaheadless is installed in]",
)
_SETTINGS: dict[str, Any] = {
    "allow_interspersed_args": False,
    "help_option_names": ["--help", "-h"],  # click before 8.2 names the first one
}


class Command(click.Command):
    """A command whose messages about wrong usage are written in the same way as all others."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        try:
            status = super().main(*args, **{**settings, "standalone_mode": False})
        except click.ClickException as error:
            _name_the_source(error)
            if not isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # which is all of the help
                error.message = printable(error.message)  # type: ignore[misc,unused-ignore]  # final since click 8.5
            with StringIO() as text:
                error.show(text)
                print_stderr(text.getvalue().rstrip("\n"))
            sys.exit(error.exit_code)
        sys.exit(status)


def _name_the_source(error: click.ClickException) -> None:
    """Name the option or the variable that gave a wrong value; click would name both."""
    if isinstance(error, click.BadParameter) and error.ctx and error.param and error.param.envvar:
        source = error.ctx.get_parameter_source(str(error.param.name))
        name = error.param.envvar if source is ParameterSource.ENVIRONMENT else f"'{max(error.param.opts, key=len)}'"
        error.param_hint = str(name)


class Commands(Command, click.Group):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and os.path.exists(args[0]):
            raise click.UsageError(
                f"There is no command {args[0]!r}. To run a script: {ctx.info_name} run {args[0]}", ctx
            )
        return super().resolve_command(ctx, args)


class Configured(Command):
    """A command whose options may also come from files; it gets the environment that they make of the inherited one."""

    def invoke(self, ctx: click.Context) -> Any:
        inherited = launch.inherited_environment()
        known = [_key(option) for option in run.params if option.envvar]
        ctx.obj = config_file.read(_script(ctx.params), inherited, known)
        ctx.params["environ"] = {**inherited, **config_file.variables(ctx.obj.values())}
        for option in self.params:
            setting = ctx.obj.get((_key(option),))
            if setting and ctx.get_parameter_source(str(option.name)) is ParameterSource.DEFAULT:
                ctx.params[str(option.name)] = _converted(option, setting, ctx)
        return super().invoke(ctx)


class Evaluated(Configured):
    """A command whose output a shell evaluates: nothing at all would be a success there."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **settings: Any) -> click.Context:
        with _said_to_the_shell(not {"--json", "--github"} & set(args)):
            return super().make_context(info_name, args, *rest, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _said_to_the_shell(not (ctx.params["as_json"] or ctx.params["github"])):
            return super().invoke(ctx)


@contextmanager
def _said_to_the_shell(wanted: bool) -> Iterator[None]:
    try:
        yield
    except (click.UsageError, LaunchError) as error:
        if wanted:
            click.echo(f"sh -c 'exit {error.exit_code}'")  # these words are those of every shell
        raise


def _key(option: click.Parameter) -> str:
    return str(option.name).replace("_", "-")


def _script(params: dict[str, Any]) -> str | None:
    """The script that a command is to run, if that is what it runs."""
    if any(params.get(name) is not None for name in ("module", "code", "command")):
        return None
    words = params.get("args", ())
    return target.script_among(("--", *words) if "module" in params else words)


def _converted(option: click.Parameter, setting: Setting, ctx: click.Context) -> Any:
    """The value of *setting*, as if *option* had been given with it."""
    value = setting.value
    if isinstance(option, click.Option) and option.is_flag:
        if isinstance(value, bool):
            return value
        kind = "true or false"
    elif option.multiple:
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return tuple(value)
        kind = "a list of strings"
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            return option.type(str(value), option, ctx)
        except click.BadParameter as error:
            raise config_file.wrong(setting.place, f"{_key(option)}: {error.message.rstrip('.')}") from error
    else:
        kind = "a string or a number"
    raise config_file.wrong(setting.place, f"{_key(option)} has to be {kind}")


@click.group(cls=Commands, context_settings=_SETTINGS, epilog=EPILOG)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Run a graphical program on a machine without a screen.

    It gets an X display of its own, and then runs as if it had been called directly: same process, same standard
    streams, same exit status. Nothing is left behind, however it ends.
    """


@cli.command(cls=Configured, context_settings=_SETTINGS, epilog=EPILOG)
@click.option("-m", "module", cls=LastOption, metavar="MODULE", help="Run a module, as python -m does.")
@click.option("-c", "code", cls=LastOption, metavar="CODE", help="Run these lines, as python -c does.")
@_python_option
@_server_options
@_watch_options
@click.option("--show-config", is_flag=True, help="Say what holds, and where it comes from; run nothing.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
def run(
    args: tuple[str, ...],
    module: str | None,
    code: str | None,
    python: str,
    show_config: bool,
    environ: dict[str, str],
    **settings: Any,
) -> None:
    """Run a Python program: SCRIPT is a file, a directory or zip file with a __main__, or - for standard input.

    All that comes after it, or after -m MODULE or -c CODE, is the program's own. Options may also stand in the script,
    as [tool.anaheadless] of its PEP 723 metadata, and in ~/.config/anaheadless/config.toml.
    """
    search = os.get_exec_path(environ)
    if module is not None:
        program = target.python(python, ("-m", module, *args), search)
    elif code is not None:
        program = target.python(python, ("-c", code, *args), search)
    elif args:
        program = target.script(python, args[0], args[1:], search)
    elif show_config:
        program = target.python(python, (), search)
    else:
        raise click.UsageError("Nothing to run: give a SCRIPT, -m MODULE or -c CODE.")
    options = _launch_options(**settings)
    if show_config:
        for line in _shown(click.get_current_context()):
            click.echo(os.fsencode(line))
    else:
        launch.run(program, options, environ, program.executable)


@cli.command("exec", cls=Configured, context_settings=_SETTINGS, epilog=EPILOG)
@_server_options
@_watch_options
@click.argument("command", type=click.UNPROCESSED)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def exec_(command: str, args: tuple[str, ...], environ: dict[str, str], **settings: Any) -> NoReturn:
    """Run any COMMAND, with its own ARGS."""
    program = target.command(command, args, os.get_exec_path(environ))
    launch.run(program, _launch_options(**settings), environ)


@click.command(cls=Configured, context_settings=_SETTINGS, add_help_option=False)  # --help is the interpreter's
@_python_option
@_server_options
@_watch_options
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def python(args: tuple[str, ...], python: str, environ: dict[str, str], **settings: Any) -> NoReturn:
    """What anaheadless-python is: the interpreter, with its own options and arguments."""
    search = os.get_exec_path(environ)
    program = target.python_call(python, args, search)
    launch.run(program, _launch_options(**settings), environ, program.executable)


@cli.command(cls=Configured, context_settings=_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
@click.option(
    "--render", type=click.Path(dir_okay=False, writable=True), metavar="FILE.png", help="Save the proof's picture."
)
@_python_option
@_server_options
def doctor(as_json: bool, render: str | None, python: str, environ: dict[str, str], **settings: Any) -> NoReturn:
    """Say what run would find here, what it would choose and why, and what to install.

    Exit status: 0 when run would work, 1 when not.
    """
    from anaheadless.diagnostics import doctor as examination  # only here: a run has no need of it

    if render is not None and settings["gl"] == "none":
        raise click.UsageError("--render and --gl none contradict each other.")
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
            click.echo(f"  {click.style(mark, fg=colour)} {printable(finding.text)}")
    sys.exit(0 if report["works"] else 1)


@cli.command(cls=Evaluated, context_settings=_SETTINGS)
@click.option(
    "--pid",
    type=WholeNumber(1, 2**22),
    metavar="PID",
    help="Live as long as this process.  [default: the calling shell]",
)
@click.option(
    "--shell", type=click.Choice(("sh", "fish", "csh")), default="sh", show_default=True, help="Whose words to print."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; null: the variable is to be removed.")
@click.option("--github", is_flag=True, help="Append to the file that GITHUB_ENV names, and live as long as the job.")
@_python_option
@_server_options
@click.option("--log", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="As of run.")
def start(
    pid: int | None,
    shell: str,
    as_json: bool,
    github: bool,
    python: str,
    environ: dict[str, str],
    **settings: Any,
) -> None:
    """Start a display for all that a shell, or a CI job, does next.

    \b
      eval "$(anaheadless start)"
      anaheadless start --shell fish | source

    It lives until anaheadless stop, and no longer than the calling shell. In a pipeline, or beside && and ||, a shell
    calls by another one that ends at once: there, say --pid $$.
    """  # noqa: D301
    from anaheadless.cli import shell_export  # only here, as all that a run has no need of

    if github and as_json:
        raise click.UsageError("--github and --json contradict each other.")
    if github and not environ.get("GITHUB_ENV"):
        raise click.UsageError("GITHUB_ENV is not set: --github only works in a step of a GitHub Actions job.")
    if not github and sys.stdout is None:
        raise LaunchError(
            "nowhere to print the variables: standard output is closed", hint="Without them, nobody finds the display."
        )
    interpreter = target.python(python, (), os.get_exec_path(environ)).executable
    options = _launch_options(**settings)
    with shell_export.open_github_file(environ["GITHUB_ENV"]) if github else nullcontext() as file:
        ready = launch.start(options, environ, interpreter, target=pid or _calling_process(github), purpose="start")
        try:
            changed = shell_export.changes(launch.inherited_environment(), ready.environ)
            if file is not None:
                shell_export.append(shell_export.for_github(changed), file, environ["GITHUB_ENV"])
            elif as_json:
                import json

                click.echo(json.dumps(changed))
            else:
                for line in shell_export.for_shell(changed, shell):
                    click.echo(os.fsencode(line))
            ready.session.release()
        except BaseException:
            ready.session.end()
            raise


_PID_HINT = "Use --pid PID to say which process to keep the display for."


def _calling_process(github: bool) -> int:
    """The PID of the shell that has called us, or in a GitHub Actions step, of the runner that has called the shell."""
    parent = os.getppid()
    if github and parent:
        import psutil

        # Another PID namespace's is not seen: in a job's container, the runner is that of PID 1.
        with suppress(psutil.Error):  # it has ended just now
            parent = psutil.Process(parent).ppid() or 1
    elif parent == 1 and os.getsid(parent) != os.getsid(0):
        raise LaunchError("the calling shell has ended already", hint=_PID_HINT)
    if not parent:
        raise LaunchError("the calling shell is outside this container", hint=_PID_HINT)
    return parent


@cli.command("list", context_settings=_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="One JSON array, an object for each.")
def list_(as_json: bool) -> None:
    """Show the live sessions of this user.

    A line for each: its name, which is its display; the PID of its target; its state and age; the X server's memory;
    where OpenGL comes from; and the target's command.
    """
    from anaheadless.session import manage  # only here: psutil is no small import

    found = manage.rows()
    if as_json:
        import json

        click.echo(json.dumps([row.as_dict() for row in found], indent=2))
        return
    import datetime

    for row in found:
        memory = f"{row.server_memory / 2**20:.0f}M"
        age = str(datetime.timedelta(seconds=int(row.age)))
        line = f"{row.session:6} {row.target:>8} {row.state:8} {age:>9} {memory:>5} {row.backend:9} {row.command}"
        click.echo(printable(line))


@cli.command(context_settings=_SETTINGS)
def clean() -> None:
    """Remove what dead sessions of this user have left: sockets, cookies, locks and keymaps.

    Living ones are not touched. Each run does some of this by itself.
    """
    from anaheadless.system import private_files

    for path in leftovers.sweep(None, private_files.folders(launch.inherited_environment())):
        click.echo(f"removed {printable(path)}")


@cli.command(context_settings=_SETTINGS)
@click.argument("session", required=False)
@click.option("--grace", type=Duration(), default=options.RunLimits.grace, show_default="10s", help="As for --timeout.")
def stop(session: str | None, grace: float) -> None:
    """End a SESSION, and with it a program that was run: SIGTERM, then SIGKILL.

    SESSION is a display, as 4711 or :4711, or the PID of a program. Default: the session of the calling shell, if it
    is in one.
    """
    from anaheadless.session import manage

    environ = launch.inherited_environment()
    manage.stop(manage.find_to_stop(session, environ), grace, environ)


@cli.command(context_settings=_SETTINGS)
@click.argument("args", nargs=-1, metavar="[SESSION] FILE.png")
@click.option("--crop", type=Area(), metavar=Area.name, help="Only this part of the screen.")
def screenshot(args: tuple[str, ...], crop: Any) -> None:
    """Save what a SESSION shows now, as a PNG file; its target may be hung, or stopped.

    SESSION is a display, as 4711 or :4711, or the PID of a target. Default: the one that this is called in, or the
    only one.
    """
    from anaheadless.session import manage
    from anaheadless.x11 import screenshot as camera

    if not 1 <= len(args) <= 2:
        raise click.UsageError("Give one FILE.png, and at most a SESSION before it.")
    found = manage.find(args[0] if args[1:] else None, launch.inherited_environment())
    try:
        camera.save(found.display, f"/proc/{found.keeper}/fd/{protocol.COOKIE}", args[-1], crop)
    except OSError as error:
        raise LaunchError(
            f"can't save the picture: {args[-1]}: {error.strerror}",
            hint="Choose a file that you can write to, in a folder that exists.",
        ) from error


@cli.command(context_settings=_SETTINGS)
@click.argument("session", required=False)
def view(session: str | None) -> None:
    """Show a SESSION in a VNC viewer, with keyboard and mouse, until that is closed; its target may be hung.

    It prints how to connect, and a password that is good for once. Only programs on this machine can connect; others
    come through a tunnel of ssh. It needs x11vnc.

    SESSION is a display, as 4711 or :4711, or the PID of a target. Default: the one that this is called in, or the
    only one.
    """
    from anaheadless.session import manage
    from anaheadless.session import viewer as viewing

    environ = launch.inherited_environment()
    click.echo(viewing.show(manage.find(session, environ), environ, click.echo))


def _shown(ctx: click.Context) -> Iterator[str]:
    """What holds, as the lines of a config.toml, and where it comes from."""
    for option in ctx.command.params:
        if option.envvar:
            setting = ctx.obj.get((_key(option),))
            place = setting.place if setting else "default"
            source = ctx.get_parameter_source(str(option.name))
            if source is not ParameterSource.DEFAULT:
                place = "command line" if source is ParameterSource.COMMANDLINE else str(option.envvar)
            yield config_file.line((_key(option),), ctx.params[str(option.name)], place)
    for keys, setting in ctx.obj.items():
        if keys[0] == config_file.ENV:
            yield config_file.line(keys, setting.value, setting.place)


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise LaunchError(
            f"can't write {path}: the working directory has been removed", hint="Use an absolute path."
        ) from error


def _launch_options(
    gl: str,
    no_virtualgl: bool,
    vgl_display: str | None,
    vgl_no_dlfaker: bool,
    server_arg: tuple[str, ...],
    no_shim: bool,
    timeout: float | None = None,
    grace: float | None = None,
    screenshot_on_timeout: str | None = None,
    log: str | None = None,
    record: str | None = None,
    **rest: Any,
) -> Options:
    if no_virtualgl and gl == "virtualgl":
        raise click.UsageError("--gl virtualgl and --no-virtualgl contradict each other.")
    request = None
    if gl != "none":
        request = OpenGLRequest(gl, not no_virtualgl, vgl_display=vgl_display, vgl_dlfaker=not vgl_no_dlfaker)
    source = click.get_current_context().get_parameter_source
    if not timeout and any(source(name) is ParameterSource.COMMANDLINE for name in ("grace", "screenshot_on_timeout")):
        raise click.UsageError("--grace and --screenshot-on-timeout need a --timeout.")
    picture = _absolute(screenshot_on_timeout) if timeout and screenshot_on_timeout else ""
    if picture and not os.access(os.path.dirname(picture), os.W_OK | os.X_OK):
        raise click.UsageError(f"Invalid value for '--screenshot-on-timeout': can't make a file there: {picture}")
    if os.path.exists(picture) and not os.path.isfile(picture):
        raise click.UsageError(f"Invalid value for '--screenshot-on-timeout': it is not a regular file: {picture}")
    if record and rest["screen"].depth not in (15, 16, 24):
        raise click.UsageError("--record needs a --screen of 15, 16 or 24 bits: ffmpeg reads no other.")
    film = _absolute(record) if record else ""
    limits = options.RunLimits(timeout or 0.0, grace or options.RunLimits.grace, picture, log or "", film)
    return Options(opengl=request, server_args=server_arg, shim=not no_shim, limits=limits, **rest)
