"""The options of xvfb-run, for ``exec``, and the command ``anaheadless-xvfb-run`` that takes its place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from anaheadless.cli import completion
from anaheadless.cli.parameters import CONTEXT, Configured, Value, table_options
from anaheadless.cli.xvfb_run_options import XVFB_RUN_OPTIONS
from anaheadless.errors import print_stderr
from anaheadless.launch import run as launch
from anaheadless.launch import target
from anaheadless.options import DISPLAY_NUMBER, DPI, SCREEN, Options

Function = TypeVar("Function", bound=Callable[..., Any])


def xvfb_run_options(*, hidden: bool) -> Callable[[Function], Function]:
    """Give a click command the options of xvfb-run; they come as one parameter each, for :func:`applied`."""

    def decorate(function: Function) -> Function:
        for names, metavar, text in reversed(XVFB_RUN_OPTIONS):
            settings: dict[str, Any] = {"metavar": metavar} if metavar else {"is_flag": True}
            if metavar == "NUM":
                settings["type"] = Value(DISPLAY_NUMBER)
            click.option(*names, hidden=hidden, help=text, **settings)(function)
        return function

    return decorate


def applied(options: Options, given: dict[str, Any]) -> Options:
    """Return *options* with what xvfb-run's options ask for.

    :raises click.UsageError: the X server's arguments ask for what it can't be.
    """
    changed: dict[str, Any] = {}
    extra: list[str] = []
    if given["server_args"] is not None:
        changed, extra = _server_arguments(given["server_args"])
    if given["listen_tcp"]:
        extra += ["-listen", "tcp"]
    if given["server_num"] is not None and not (given["auto_servernum"] or given["auto_display"]):
        changed["display_number"] = given["server_num"]
    if given["error_file"] is not None:
        changed["limits"] = options.limits.replace(log=given["error_file"])
    if given["auth_file"] is not None:
        changed["auth_file"] = given["auth_file"]
    if given["xauth_protocol"] not in (None, ".", "MIT-MAGIC-COOKIE-1") and not options.quiet:
        print_stderr(f"anaheadless: not {given['xauth_protocol']}: the protocol is always MIT-MAGIC-COOKIE-1")
    return options.replace(**changed, server_args=(*options.server_args, *extra))


def _server_arguments(text: str) -> tuple[dict[str, Any], list[str]]:
    """Return the options that Xvfb's arguments ask for, and the other arguments; xvfb-run knows no quotes, either."""
    changed: dict[str, Any] = {}
    extra = []
    words = iter(text.split())
    for word in words:
        if word == "-screen":
            number, size = next(words, ""), next(words, "")
            if number != "0":
                raise click.UsageError(f"--server-args: there is only one screen, -screen 0, and no {number!r}.")
            changed["screen"] = _parsed(SCREEN.parse, size)
        elif word == "-dpi":
            changed["dpi"] = _parsed(DPI.parse, next(words, ""))
        elif word in ("-nolisten", "-auth"):  # as is always so; and the cookie has its place
            value = next(words, "")
            if word == "-nolisten" and value != "tcp":
                extra += [word, value]
        elif not re.fullmatch(r":\d+", word):  # which xvfb-run's server would ignore, too
            extra.append(word)
    return changed, extra


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise click.UsageError(f"--server-args: {error}") from error


@click.command(cls=Configured, context_settings=CONTEXT)
@xvfb_run_options(hidden=False)
@table_options("exec", hidden=True)
@click.argument("command", type=click.UNPROCESSED, shell_complete=completion.programs)
@click.argument("args", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.files)
def xvfb_run(command: str, args: tuple[str, ...], environ: dict[str, str], options: Options, **given: Any) -> NoReturn:
    """Run a COMMAND on a virtual display, as xvfb-run does.

    Takes xvfb-run's options, and the long ones of anaheadless exec. Without -n, the display number is any free one, and
    not 99. If there is no OpenGL that works, the command runs all the same. The exit status is that of the command, or
    that of anaheadless exec.
    """
    program = target.command(command, args, os.get_exec_path(environ))
    options = applied(options.replace(needs_opengl=False), given)
    launch.run(program, options, environ)
