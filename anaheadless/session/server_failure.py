"""Why an X server did not start: its own words, and what to do."""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import suppress

from anaheadless.errors import LIMITS_HINT, LaunchError, print_stderr
from anaheadless.x11.connection import RefusedError
from anaheadless.x11.servers import xvnc

MESSAGES_LIMIT = 1 << 16  # bytes


# What Xorg prints below an error: its log file is /dev/null.
_XORG_FOOTER = ("Please consult the", "at http://wiki.x.org", "for help.", "check the log file", "Closing log file.")


class NoKeeperError(Exception):
    """The keeper ended before it had started the X server."""


def describe(error: Exception, messages: bytes, program: str, start_timeout: float) -> LaunchError:
    """Make the error for a server that is not ready.

    :param error: how that was noticed.
    :param messages: the output of the server, or of the keeper.
    :param start_timeout: the seconds that the server had.
    """
    text = messages.decode(errors="replace")
    # An X server that does not know an option prints all the options that it knows, and then what is wrong.
    text = text[max(0, text.find("Fatal server error")) :]
    lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", "(EE)")]
    lines = [line for line in lines if not any(words in line for words in _XORG_FOOTER)]
    if isinstance(error, socket.timeout):
        message = f"the X server was not ready within {start_timeout:g} s"
        hint = "Give it more time with --start-timeout, or start it by hand to see what it is waiting for."
    elif isinstance(error, NoKeeperError):
        message = "the keeper could not be started"
        hint = LIMITS_HINT
    elif isinstance(error, RefusedError):
        message = f"the X server refused the launcher's own connection: {error}"
        hint = "Check --server-arg: something there keeps clients out."
    else:
        message = "the X server ended before it was ready"
        hint = "Check --server-arg and --screen, or start it by hand to see more."
    hint = _hint(text) or hint
    if not lines and os.path.basename(program) in xvnc.KIND.programs and isinstance(error, ConnectionError):
        hint = (
            "Xvnc can't say why: what it prints after its arguments is lost. It may not get the memory for that "
            "--screen: choose a smaller one, or raise the limit (ulimit -v). Or its keyboard map can't be compiled: "
            "that takes xkbcomp (Debian: x11-xkb-utils, xkb-data) and a /tmp that you can write to."
        )
    if os.statvfs("/tmp").f_bavail == 0:
        hint = "There is no space left in /tmp: make room there."
    return LaunchError(f"{message}: {program}", details=tuple(lines[-8:]) or ("(it said nothing)",), hint=hint)


def _hint(text: str) -> str:
    """Return what helps against a failure that the server's output names, or nothing."""
    if any(os.strerror(number) in text for number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE)):
        return LIMITS_HINT
    if "virtual core keyboard" in text and not os.access("/tmp", os.W_OK):
        return (
            "The X server compiles its keyboard map to a file in /tmp, where you can't write: change that, or choose "
            "another --server."
        )
    if "virtual core keyboard" in text:
        return (
            "The X server compiles its keyboard map with xkbcomp: check that it is installed (Debian: x11-xkb-utils, "
            "xkb-data), and the limit on processes (ulimit -u)."
        )
    library = re.search("error while loading shared libraries: ([^:]+):", text)
    if library:
        return f"Install the package that provides {library[1]}: python3 -m anaheadless.packages lists what is missing."
    if any(words in text for words in ("Couldn't add screen", "failed to create screen resources", "AddScreen")):
        return "It could not get the memory for that --screen: choose a smaller one, or raise the limit (ulimit -v)."
    unknown = re.search(r"Unrecognized option: (\S+)", text)
    if unknown and unknown[1] == "-screen":
        return "Use --screen WIDTHxHEIGHTxDEPTH instead of --server-arg."
    if unknown:
        return "Check --server-arg: give each word its own, as in --server-arg=-maxclients --server-arg=512."
    return ""


def report(program: str, messages: str, start_timeout: str) -> None:
    """Print on stderr why the X server has failed, for a launcher that has not waited.

    :param messages: the file with the output of the server.
    :param start_timeout: the seconds that the server had, if it has used them up; else 0.
    """
    error = socket.timeout() if float(start_timeout) else ConnectionError()
    output = b""
    with suppress(OSError), open(messages, "rb") as file:  # the keeper may have been killed meanwhile
        output = file.read(MESSAGES_LIMIT)
    print_stderr(str(describe(error, output, program, float(start_timeout))))
