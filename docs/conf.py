"""For sphinx-build, see `make docs`."""

from __future__ import annotations

import re
from typing import Any

import anaheadless

project = "anaheadless"
version = release = anaheadless.__version__
extensions = ["sphinx.ext.autodoc"]
html_theme = "alabaster"
html_theme_options = {"description": "Graphical programs on machines without screens", "page_width": "1100px"}
html_copy_source = False
html_show_copyright = False
python_maximum_signature_line_length = 100
# The standard library has its documentation elsewhere.
nitpick_ignore_regex = [("py:.*", r"(collections\.abc|os|subprocess)\..*")]


def follow_links(_app: Any, _name: Any, *rest: Any) -> None:
    """Links to the files of the repository, which are right wherever those are read as such, as links to our pages."""
    text = rest[-1]
    text[0] = re.sub(r"`([^`<]+<)(?:docs/)?([\w-]+)\.rst>`_", lambda m: f":doc:`{m[1]}{m[2].lower()}>`", text[0])
    text[0] = text[0].replace(":: docs/", ":: ")


def setup(app: Any) -> None:
    app.connect("source-read", follow_links)
    app.connect("include-read", follow_links)
