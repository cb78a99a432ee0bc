"""The command ``doctor``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from anaheadless.cli.parameters import CONTEXT, Configured, table_options
from anaheadless.errors import printable
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
@table_options("doctor")
def doctor(as_json: bool, render: str | None, python: str, environ: dict[str, str], options: Options) -> NoReturn:
    """Check this machine: what a run would find and choose, and what to install.

    The exit status is 0 if a run would work, otherwise 1.
    """
    from anaheadless.diagnostics import doctor as examination  # only here: a run has no need of it

    if render is not None and options.opengl is None:
        raise click.UsageError("--render and --gl none contradict each other.")
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
