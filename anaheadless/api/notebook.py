"""The extension for IPython and Jupyter, which ``%load_ext anaheadless`` loads."""

from __future__ import annotations

from typing import Any

from anaheadless.api import screenshots, setup
from anaheadless.api.screenshots import Screenshot
from anaheadless.errors import LaunchError


def load_ipython_extension(shell: Any) -> None:
    """Give the kernel a display, unless it has one, and add the magic ``%screenshot``."""
    setup.setup_headless()
    shell.register_magic_function(take_screenshot, "line", "screenshot")


def take_screenshot(line: str) -> Screenshot:
    """Show what is on the display, and save it as a PNG file if one is named: %screenshot [FILE.png]."""
    from IPython.core.error import UsageError

    try:
        return screenshots.screenshot(line.strip() or None)
    except (LaunchError, OSError) as error:
        raise UsageError(str(error)) from error
