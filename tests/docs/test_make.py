"""The commands of a checkout: ``make help`` tells of each, and ``make`` alone draws the picture."""

from __future__ import annotations

import os
import re

import pytest

from tests.support.helpers import CHECKOUT, run

MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.MULTILINE)


@pytest.mark.needs("make")
def test_help_has_a_line_for_every_target() -> None:
    # The tests themselves may be run by make, whose variables change what another one says.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    output = run("help", command="make", cwd=CHECKOUT, env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    told = dict(line.split(maxsplit=1) for line in output.stdout.splitlines())
    assert list(told) == TARGETS
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert phony[1].replace("\\\n", " ").split() == TARGETS


def test_make_alone_draws_the_picture() -> None:
    assert TARGETS[0] == "demo"
