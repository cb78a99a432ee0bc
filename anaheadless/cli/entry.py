"""The entry points of the commands.

A call without options, or with simple ones, goes straight to the launch. All others are read by click, which takes
longer to import than all the rest.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from anaheadless.errors import FAILED, LaunchError, print_stderr
from anaheadless.system import programs

# The errors of a write to standard output.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def main() -> None:
    """Run the command ``anaheadless``."""
    _enter(_main)


def main_python() -> None:
    """Run the command ``anaheadless-python``: an interpreter with a display, whose options are all python's own."""
    _enter(_main_python)


def main_xvfb_run() -> None:
    """Run the command ``anaheadless-xvfb-run``."""
    _enter(_main_xvfb_run)


def _main() -> None:
    if sys.platform != "linux":
        from anaheadless.cli import elsewhere

        elsewhere.main(sys.argv[1:])
    command, *words = sys.argv[1:] or [""]
    if command in ("run", "exec"):
        _launch_if_plain(command, words)
    elif command == "map":
        _map_if_plain(words)
    from anaheadless.cli.app import cli

    cli.main(prog_name="anaheadless")


def _main_python() -> None:
    if sys.platform != "linux":
        from anaheadless.cli import elsewhere

        elsewhere.launch("python", sys.argv[1:])
    _launch_if_plain("python", sys.argv[1:])
    from anaheadless.cli.run import python

    python.main(["--", *sys.argv[1:]], prog_name="anaheadless-python")


def _main_xvfb_run() -> None:
    if sys.platform != "linux":
        from anaheadless.cli import elsewhere

        elsewhere.main(["exec", *sys.argv[1:]])
    from anaheadless.cli.xvfb_run import xvfb_run

    xvfb_run.main(prog_name="anaheadless-xvfb-run")


def _launch_if_plain(command: str, words: Sequence[str]) -> None:
    """Become the target of *command*, unless click has to read the options."""
    from anaheadless.cli import config_file
    from anaheadless.launch import run as launch
    from anaheadless.launch import target
    from anaheadless.options import build, options_of, parse_plain

    environ = launch.inherited_environment()
    variables = _as_options(environ)
    if command == "python":
        values, unread = parse_plain(variables, options_of(command))
        is_plain = not unread
    else:
        values, words = parse_plain([*variables, *words], options_of(command))  # the last one counts
        is_plain = _is_target(command, words)
    script = target.script_among(words) if command != "exec" else None
    if not is_plain or not config_file.is_silent(script, environ):
        return
    try:
        options = build(values)
    except ValueError:  # click will report it
        return
    search = os.get_exec_path(environ)
    if command == "exec":
        launch.run(target.command(words[0], words[1:], search), options, environ)
    python, why = programs.default_python(environ)
    program = target.python_call(python, words, search)
    if options.verbose:
        print_stderr(f"anaheadless: interpreter: {python}, {why}")
    if command == "run" and not options.quiet:
        _note_misplaced_options(script, words)
    launch.run(program, options, environ, program.executable)


def _map_if_plain(words: Sequence[str]) -> None:
    """Run a map to its end, unless click has to read the options."""
    from anaheadless.cli import config_file
    from anaheadless.launch import run as launch
    from anaheadless.launch import target
    from anaheadless.map_options import MAP_TABLE
    from anaheadless.options import build, options_of, parse_plain

    environ = launch.inherited_environment()
    values, unread = parse_plain(_as_options(environ), options_of("map"))
    asked, words = parse_plain(words, (*options_of("map"), *MAP_TABLE))
    if words[:1] == ["--"]:
        del words[0]
    elif words and words[0].startswith("-"):
        return
    script = None if "call" in asked or "any_program" in asked else target.script_among(["--", *words])
    if unread or not config_file.is_silent(script, environ):
        return
    from anaheadless.cli import map_request  # only here: the others need not wait for it

    settings = {**map_request.DEFAULTS, **asked}
    try:
        options = build({**values, **asked})
        request = map_request.request(words, programs.default_python(environ)[0], environ, options, settings)
    except ValueError:  # click will report it
        return
    map_request.carry_out(request, environ, settings)


def _note_misplaced_options(script: str | None, words: Sequence[str]) -> None:
    if any(word.startswith("--") for word in words[1:]):
        from anaheadless.cli import misplaced  # only here: most scripts have no such words

        misplaced.say(script, words)


def _is_target(command: str, words: Sequence[str]) -> bool:
    """Return whether *words* begin after the options, or with the last one of them: the rest is the target's."""
    if not words:
        return False
    is_last = command == "run" and (words[0] == "-" or (words[0] in ("-m", "-c") and len(words) > 1))
    return is_last or not words[0].startswith("-")


def _as_options(environ: Mapping[str, str]) -> list[str]:
    """Write the variables that stand for options as options."""
    from anaheadless.options import SESSION_VARIABLES

    prefix = "ANAHEADLESS_"
    return [
        f"--{name[len(prefix) :].lower().replace('_', '-')}={value}"
        for name, value in environ.items()
        if name.startswith(prefix) and name not in SESSION_VARIABLES
    ]


def _enter(command: Callable[[], None]) -> None:
    # ^C ends us as it ends any program; the keeper cleans up what was started by then.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # click would take stdout; it is closed again when the target starts
    try:
        _report_failure(command)
    except SystemExit as end:
        if not sys.flags.inspect:
            raise
        # With PYTHONINSPECT, Python would not end, but ask for lines to run.
        if sys.stdout is not None:
            with suppress(OSError):
                sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


def _report_failure(command: Callable[[], None]) -> None:
    try:
        command()
    except LaunchError as error:
        print_stderr(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try, and fail, once more
        print_stderr(f"anaheadless: the output can't be written: {error.strerror}")
        sys.exit(FAILED)
