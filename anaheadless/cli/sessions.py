"""The commands for sessions that are running: ``list``, ``stop``, ``clean``, ``screenshot`` and ``view``."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import click

from anaheadless.cli import completion, shell_export
from anaheadless.cli.parameters import CONTEXT, SHELL_OPTION, Command, Value
from anaheadless.errors import LaunchError, print_stderr, printable
from anaheadless.launch import environment
from anaheadless.launch import run as launch
from anaheadless.options import DURATION, SESSION, RunLimits
from anaheadless.session import discovery, leftovers, protocol
from anaheadless.system import file_types

if TYPE_CHECKING:
    from anaheadless.session.manage import SessionInfo

HEADER = f"{'NAME':6} {'PID':>8} {'STATE':8} {'AGE':>9} {'MEM':>5} {'OPENGL':9} {'BY':8} COMMAND"


class Area(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A part of a screen, written like the -geometry of X clients."""

    name = "WIDTHxHEIGHT+X+Y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})", value, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            self.fail(f"{value!r} is not {self.name}, such as 640x480+0+0.", param, ctx)
        width, height, x, y = map(int, match.groups())
        return width, height, x, y


@click.command("list", cls=Command, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array with an object for each session.")
def list_(as_json: bool) -> None:
    """List your running sessions.

    Each line shows a session's display, the PID of its program, its state and age, the memory of its X server, where
    its OpenGL comes from, whether hardware (a GPU) or software draws, and the command of its program. A terminal also
    shows a header, and lines are cut to its width.
    """
    from anaheadless.session import manage  # only here: psutil is no small import

    found = manage.rows()
    if as_json:
        import json

        click.echo(json.dumps([row.as_dict() for row in found], indent=2))
        return
    lines = [_line(row) for row in found]
    if os.isatty(1):
        width = shutil.get_terminal_size().columns
        lines = [each[:width] for each in ([HEADER, *lines] if lines else ["no sessions"])]
    for line in lines:
        click.echo(line)


def _line(row: SessionInfo) -> str:
    import datetime

    memory = f"{row.server_memory / 2**20:.0f}M"
    age = str(datetime.timedelta(seconds=int(row.age)))
    draws = {True: "hardware", False: "software", None: "-"}[row.hardware]
    line = f"{row.session:6} {row.target:>8} {row.state:8} {age:>9} {memory:>5} {row.backend:9} {draws:8}"
    return printable(f"{line} {row.command}")


@click.command(cls=Command, context_settings=CONTEXT)
def clean() -> None:
    """Remove what your dead sessions have left.

    These are sockets, cookies, locks and keymaps. Running sessions are not touched. Each run does some of this by
    itself.
    """
    from anaheadless.system import private_files

    for path in leftovers.sweep(None, private_files.folders(launch.inherited_environment())):
        click.echo(f"removed {printable(path)}")


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("session", required=False, shell_complete=completion.sessions)
@click.option(
    "--grace",
    type=Value(DURATION),
    metavar=DURATION.metavar,
    default=RunLimits.grace,
    help="Time for the program to end after SIGTERM; then comes SIGKILL.  [default: 10s]",
)
@click.option("--unset", is_flag=True, help="Print what makes the calling shell forget the display of start.")
@SHELL_OPTION
def stop(session: str | None, grace: float, unset: bool, shell: str) -> None:
    """End a session, and the program that runs in it.

    SESSION is a display, such as 4711 or :4711, or the PID of a program. The default is the session of the calling
    shell, if it is in one. After start, let the shell forget the display, too:

    \b
      eval "$(anaheadless stop --unset)"
      anaheadless stop --unset --shell fish | source
    """  # noqa: D301
    from anaheadless.session import manage

    environ = launch.inherited_environment()
    current = discovery.current(environ)
    # After a stop that unset nothing, there is only that left to do.
    is_over = unset and session is None and current is None and SESSION in environ
    found = None if is_over else manage.find_to_stop(session, environ)
    if found is not None:
        manage.stop(found, grace, environ)
    if found is not None and (current is None or not found.is_same(current)):
        return
    status = found.status if found is not None else None
    if unset:
        left = environment.leave(environ, status.original_display if status is not None else "")
        for line in shell_export.for_shell(shell_export.changes(environ, left), shell):
            click.echo(os.fsencode(line))
    elif status is not None and status.purpose == "start":
        print_stderr(
            "anaheadless: this shell still has the variables of the display\n"
            '  To remove them: eval "$(anaheadless stop --unset)"'
        )


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("args", nargs=-1, metavar="[SESSION] FILE.png")
@click.option("--crop", type=Area(), metavar=Area.name, help="Save only this part of the screen.")
def screenshot(args: tuple[str, ...], crop: Any) -> None:
    """Save what a session shows now as a PNG file.

    This works even if the program hangs or is stopped. SESSION is a display, such as 4711 or :4711, or the PID of a
    program. The default is the session of the calling shell, else the only session.
    """
    from anaheadless.session import manage
    from anaheadless.x11 import screenshot as camera

    if not 1 <= len(args) <= 2:
        raise click.UsageError("Give one FILE.png, and at most a SESSION before it.")
    file_types.check(args[-1], file_types.PICTURE)
    found = manage.find(args[0] if args[1:] else None, launch.inherited_environment())
    try:
        camera.save(found.display, f"/proc/{found.keeper}/fd/{protocol.COOKIE}", args[-1], crop)
    except OSError as error:
        raise LaunchError(
            f"can't save the picture: {args[-1]}: {error.strerror}",
            hint="Choose a file that you can write to, in a folder that exists.",
        ) from error


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("session", required=False, shell_complete=completion.sessions)
@click.option("--web", is_flag=True, help="Show it in a browser instead; needs also websockify and noVNC.")
def view(session: str | None, web: bool) -> None:
    """Watch and control a session in a VNC viewer.

    This prints how to connect, with a password that works once, and ends when you close the viewer. Only programs on
    this machine can connect; from another machine, use an ssh tunnel. It needs x11vnc.

    This works even if the program hangs. SESSION is a display, such as 4711 or :4711, or the PID of a program. The
    default is the session of the calling shell, else the only session.
    """
    from anaheadless.session import manage
    from anaheadless.session import viewer as viewing

    environ = launch.inherited_environment()
    click.echo(viewing.show(manage.find(session, environ), environ, click.echo, web))
