"""The options of xvfb-run."""

from __future__ import annotations

# Of each option: its names, what it takes, and what it means here.
XVFB_RUN_OPTIONS: tuple[tuple[tuple[str, str], str, str], ...] = (
    (("-a", "--auto-servernum"), "", "Take any free display number, whatever -n says. Without -n, that is always so."),
    (("-d", "--auto-display"), "", "The same as -a."),
    (("-e", "--error-file"), "FILE", "Append what happens, and what the X server says. The default is nowhere."),
    (("-f", "--auth-file"), "FILE", "Put the cookie of the display into this file, too."),
    (("-l", "--listen-tcp"), "", "Let the X server listen on a TCP port."),
    (("-n", "--server-num"), "NUM", "The display number."),
    (("-p", "--xauth-protocol"), "PROTO", "Has no meaning now: it is always MIT-MAGIC-COOKIE-1."),
    (("-s", "--server-args"), "ARGS", "Arguments for the X server.  [default: -screen 0 1280x1024x24]"),
    (("-w", "--wait"), "DELAY", "Has no meaning now."),
)
