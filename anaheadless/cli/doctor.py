"""The command ``doctor``."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import NoReturn

import click

from anaheadless import packages
from anaheadless.cli.parameters import CONTEXT, Configured, table_options
from anaheadless.errors import LaunchError, print_stderr, printable
from anaheadless.launch import target
from anaheadless.options import Options


@click.command(cls=Configured, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; see docs/reference/doctor-json.rst.")
@click.option(
    "--render",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE.png",
    help="Save the picture that the OpenGL probe has drawn.",
)
@click.option("--fix", is_flag=True, help="Show the command that installs what is missing, and run it if you say yes.")
@table_options("doctor")
def doctor(
    as_json: bool, fix: bool, render: str | None, python: str, environ: dict[str, str], options: Options
) -> NoReturn:
    """Check this machine: what a run would find and choose, and what to install.

    The exit status is 0 if a run would work, otherwise 1.
    """
    from anaheadless.diagnostics import doctor as examination  # only here: a run has no need of it

    if render is not None and options.opengl is None:
        raise click.UsageError("--render and --gl none contradict each other.")
    if fix:
        _install_what_is_missing()
    interpreter = target.python(python, (), os.get_exec_path(environ)).executable
    report = examination.examine(options, environ, interpreter, render)
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


def _install_what_is_missing() -> None:
    """Show the command that installs what is missing, and run it if that is wanted; without an answer, it is not.

    :raises LaunchError: there is none, or it has failed.
    """
    missing = [*packages.missing(), *(each for each in ("xkbcomp",) if not packages.is_present(each))]
    if not missing:
        print_stderr("anaheadless: no package is missing")
        return
    commands = packages.fix_commands(missing)
    print_stderr(f"Missing: {', '.join(missing)}\nTo install that:\n  {' && '.join(map(shlex.join, commands))}")
    try:
        wanted = click.confirm("Run this now?", err=True)
    except click.Abort:  # standard input has ended
        wanted = False
    if not wanted:
        sys.exit(1)
    for command in commands:
        status = subprocess.run(command, stdout=2, check=False).returncode
        if status:
            said = f"status {status} of {shlex.join(command)}"
            raise LaunchError(f"can't install what is missing: {said}", hint="What it has printed says why.")
