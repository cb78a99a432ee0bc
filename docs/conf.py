"""Settings of sphinx-build; see `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import anaheadless

sys.path.insert(0, str(Path(__file__).parent))  # for option_tables

project = "anaheadless"
version = release = anaheadless.__version__
extensions = ["sphinx.ext.autodoc", "sphinx_click", "sphinx_copybutton", "option_tables"]
html_theme = "furo"
html_title = f"anaheadless {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
# Options begin with two dashes, which typography would make one of.
smartquotes = False
python_maximum_signature_line_length = 80
# What is copied is the command, without its prompt; nothing of what it prints.
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
# The standard library has its documentation elsewhere; of a Window, VirtualDisplay.windows() says all.
nitpick_ignore_regex = [("py:.*", r"(collections\.abc|os|subprocess)\..*|Window|PathLike|Input")]


def show_files_of_the_repository(_app: Any, _path: Any, _parent: str, text: list[str]) -> None:
    """Find the picture of README.rst, whose path is relative to the repository, from a page."""
    text[0] = re.sub(r"^(\.\. figure:: )docs/", r"\1/", text[0], flags=re.MULTILINE)


def leave_out(_app: Any, _context: Any, lines: list[str]) -> None:
    """Leave out what has a page of its own: variables, and the examples and exit statuses at the end of a help."""
    lines.clear()


def close_bracket(_app: Any, _context: Any, lines: list[str]) -> None:
    """Give a placeholder such as WIDTHxHEIGHT[xDEPTH] its last bracket back: sphinx-click strips it."""
    lines[:] = [re.sub(r"<([^<>\]]+\[[^<>\]]+)>$", r"<\1]>", line) for line in lines]


def setup(app: Any) -> None:
    # sphinx-click 6.2 registers the event for variables under one name, and emits it under another one.
    app.add_event("sphinx-click-process-envars")
    for event in "envars", "envvars", "epilog":
        app.connect(f"sphinx-click-process-{event}", leave_out)
    app.connect("sphinx-click-process-options", close_bracket)
    app.connect("include-read", show_files_of_the_repository)
