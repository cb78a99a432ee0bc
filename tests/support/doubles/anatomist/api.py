"""The implementation that was configured, by the time that this is imported."""

from __future__ import annotations

import importlib

import anatomist

_module = importlib.import_module(anatomist.getDefaultImplementationModuleName())
if not hasattr(_module, "Anatomist"):
    _module = importlib.import_module(f"{_module.__name__}.api")

Anatomist = _module.Anatomist
