"""Stands in for BrainVISA's pyanatomist, which comes with BrainVISA only: its modules, and as much as tests look at."""

from __future__ import annotations

SOCKET = "socket"
DIRECT = "direct"
THREADED = "threaded"
HEADLESS = "headless"
NOTEBOOK = "notebook"

_implementation = DIRECT


def setDefaultImplementation(impl: str = DIRECT) -> None:
    global _implementation
    _implementation = impl


def getDefaultImplementationModuleName() -> str:
    return f"anatomist.{_implementation}"
