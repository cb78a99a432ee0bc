"""For programs that use Dask already: displays for the workers of a cluster."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from anaheadless.api import suite_display
from anaheadless.options import from_keywords

if TYPE_CHECKING:
    from distributed import Worker
    from typing_extensions import Unpack

    from anaheadless.api.suite_display import SuiteDisplay
    from anaheadless.options import Keywords

_lock = threading.Lock()
# A process may have several workers; they share its variables, and so its display.
_users = 0
_display: SuiteDisplay | None = None


class Displays(WorkerPlugin):
    """A plugin that gives each worker process a display, which its tasks and their programs find in their variables.

    Register it before your tasks run: ``client.register_plugin(Displays())``. Workers that come later have it, too. The
    display ends with the worker, whatever ends that, or when you unregister the plugin. Each worker needs anaheadless.

    :param options: those of :func:`anaheadless.virtual_display`.
    :raises ValueError: an option has a wrong value; likewise TypeError.
    """

    name = "anaheadless-displays"

    def __init__(self, **options: Unpack[Keywords]) -> None:
        self._options = from_keywords("Displays", options)

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Start the display of a worker; Dask calls this. :raises LaunchError: it can't be started."""
        global _users, _display
        with _lock:
            if _display is None:
                _display = suite_display.start(self._options, 'gl="none"')
            _users += 1

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        """End it; Dask calls this."""
        global _users, _display
        with _lock:
            _users -= 1
            if not _users and _display is not None:
                _display.stop()
                _display = None
