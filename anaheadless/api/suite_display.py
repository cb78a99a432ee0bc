"""A display for a process that runs tests, or the tasks of others, for as long as it does."""

from __future__ import annotations

from anaheadless.api import in_process
from anaheadless.api.in_process import Changes
from anaheadless.api.virtual_display import VirtualDisplay, describe
from anaheadless.options import Options
from anaheadless.session.session import Session
from anaheadless.system import libraries
from anaheadless.system.light_stdlib import Record

_WITHOUT_OPENGL = "--headless-gl none"
# A process that has loaded one of these may be connected to the display.
_CLIENT_LIBRARIES = ("libX11.so", "libX11-", "libxcb.so", "libxcb-")


class SuiteDisplay(Record):
    """A display that :data:`os.environ` names.

    :param changes: what was changed in :data:`os.environ`.
    """

    display: VirtualDisplay
    session: Session
    changes: Changes

    def stop(self) -> None:
        """Undo the changes, and end the session; if the process may be connected to it, it ends with the process.

        Xlib ends a process whose display has gone ("XIO: fatal IO error"), with status 1, whatever the tests have said.
        """
        in_process.restore_environment(self.changes)
        if any(name in path for path in libraries.loaded_libraries() for name in _CLIENT_LIBRARIES):
            self.session.control.close()
        else:
            self.session.close()


def start(options: Options, without: str = _WITHOUT_OPENGL) -> SuiteDisplay:
    """Start a session for this process, and let :data:`os.environ` name it.

    :param without: how to ask for no OpenGL; error messages mention it.
    :raises LaunchError: there is no session, or no OpenGL; nothing is left of it.
    """
    ready = in_process.start_session(options, without)
    changes = in_process.set_environment(ready.environ)
    return SuiteDisplay(describe(ready, options.screen), ready.session, changes)


def try_out(options: Options) -> None:
    """Start such a session and end it, so that its OpenGL is in the cache.

    :raises LaunchError: as :func:`start` does.
    """
    in_process.start_unused_session(options, _WITHOUT_OPENGL).session.close()
