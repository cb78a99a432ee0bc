"""Anatomist on a display that needs no screen."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from anaheadless.api import setup
from anaheadless.api.setup import HeadlessInfo, setup_headless


def HeadlessAnatomist(  # noqa: N802
    *args: Any,
    implementation: str | None = None,
    allow_virtualgl: bool = True,
    force_virtualgl: bool = False,
    **kwargs: Any,
) -> Any:
    """Return the Anatomist of this process, on a display that needs no screen.

    The first call sets the display up with :func:`setup_headless`, whose result becomes the Anatomist's
    ``headless_info``. Later calls return the same Anatomist, whatever their arguments.

    :param implementation: ``direct``, ``threaded``, ``nbanatomist`` or the like, or a module and a class in it, as
        ``anatomist.direct.api.Anatomist``. Default: the implementation set with
        ``anatomist.setDefaultImplementation()``, else ``direct``.
    :param allow_virtualgl: see :func:`setup_headless`, likewise ``force_virtualgl``.
    :param args: arguments for the constructor of that class; all other keyword arguments go there, too.
    :raises ImportError: Anatomist is not installed, or has no such implementation.
    :raises LaunchError: no display can be set up.

    Source: ``anatomist.headless`` of BrainVISA 6.0; that one ignores the constructor's arguments.
    """

    def set_up() -> HeadlessInfo:
        return setup_headless(allow_virtualgl, force_virtualgl, need_opengl=True)

    return the_anatomist(set_up, implementation, *args, **kwargs)


Anatomist = HeadlessAnatomist


def the_anatomist(set_up: Callable[[], HeadlessInfo], implementation: str | None, *args: Any, **kwargs: Any) -> Any:
    """Return the Anatomist of this process; if there is none, make it on the display that *set_up* gives."""
    from anaheadless.api import qt

    with setup.lock:
        if setup.state.anatomist is None:
            name = _find_implementation(implementation)
            info = set_up()
            found = _import_implementation(*name)(*args, **kwargs)
            info.qapp = qt.application_with_display()  # Anatomist has made it, if nobody else had
            found.headless_info = info
            setup.state.anatomist = found
        elif setup.state.info is not None:
            setup.check_application(setup.state.info)
        return setup.state.anatomist


def anatomist_so_far() -> Any:
    """Return the Anatomist that has been made, or None."""
    return setup.state.anatomist


def _find_implementation(name: str | None) -> tuple[str, str]:
    """Return the module and class that *name* stands for.

    The module is not imported: Anatomist's implementations load Qt, which has to come after the set-up.
    """
    try:
        anatomist = importlib.import_module("anatomist")
        default = anatomist.getDefaultImplementationModuleName().rpartition(".")[2]
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Anatomist is not installed for this Python, or does not work ({error}). It comes "
            "with BrainVISA (https://brainvisa.info/download.html): run this with BrainVISA's own Python, from a "
            "program as 'anaheadless run --python PATH'.",
            name="anatomist",
        ) from error
    if name is None:
        name = default if default != "headless" else "direct"  # "headless" is this very function
    if name == "nbanatomist":  # its name before BrainVISA 5
        name = "anatomist.notebook.api.NotebookAnatomist"
    module, _, attribute = (name if "." in name else f"anatomist.{name}.Anatomist").rpartition(".")
    if module not in sys.modules and importlib.util.find_spec(module) is None:
        raise ImportError(f"there is no implementation {name!r} of Anatomist: no module {module}", name=module)
    return module, attribute


def _import_implementation(module: str, attribute: str) -> Any:
    for path in module, f"{module}.api":
        try:
            found = getattr(importlib.import_module(path), attribute, None)
        except ModuleNotFoundError as error:
            if path == module or error.name != path:
                raise
            continue
        if found is not None:
            return found
    raise ImportError(f"there is no {attribute} in {module}, nor in {module}.api", name=module)
