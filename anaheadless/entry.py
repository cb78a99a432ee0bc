"""The commands' way in.

A call that leaves all options alone, as most do, goes straight to the launch. What others ask for is read by click,
which takes longer to import than all the rest.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from anaheadless.errors import LaunchError, say


def main() -> None:
    """The command ``anaheadless``."""
    _enter(_main)


def main_python() -> None:
    """The command ``anaheadless-python``: an interpreter with a display, whose options are all python's own."""
    _enter(_main_python)


def _main() -> None:
    command, *words = sys.argv[1:] or [""]
    if _leaves_options_alone(command, words):
        _launch_unless_set_up(command, words)
    from anaheadless.cli import cli

    cli.main(prog_name="anaheadless")


def _main_python() -> None:
    _launch_unless_set_up("run", sys.argv[1:])
    from anaheadless.cli import python

    python.main(["--", *sys.argv[1:]], prog_name="anaheadless-python")


def _leaves_options_alone(command: str, words: Sequence[str]) -> bool:
    if command not in ("run", "exec") or not words:
        return False
    # After these, as after a script, all is the target's.
    last_option = command == "run" and (words[0] == "-" or (words[0] in ("-m", "-c") and len(words) > 1))
    return last_option or not words[0].startswith("-")


def _launch_unless_set_up(command: str, words: Sequence[str]) -> None:
    """Become the target of ``run`` or ``exec``; this returns where there are settings, in variables or files."""
    from anaheadless import configuration, launch, target
    from anaheadless.options import Options

    environ = launch.inherited_environment()
    script = target.script_among(words) if command == "run" else None
    if _has_settings(environ) or not configuration.is_silent(script, environ):
        return
    search = os.get_exec_path(environ)
    if command == "exec":
        launch.run(target.command(words[0], words[1:], search), Options(), environ)
    program = target.python_call(target.this_python(), words, search)
    launch.run(program, Options(), environ, program.executable)


def _has_settings(environ: Mapping[str, str]) -> bool:
    return any(name.startswith("ANAHEADLESS_") and name != "ANAHEADLESS_SESSION" for name in environ)


def _enter(command: Callable[[], None]) -> None:
    # A ^C ends us as it ends any program; what was started by then is cleaned up by the keeper.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # click would take stdout; it is closed again when the target starts
    try:
        command()
    except LaunchError as error:
        say(str(error))
        sys.exit(error.exit_code)
