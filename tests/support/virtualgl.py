"""The real VirtualGL, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

VGLRUN = shutil.which("vglrun", path=f"{os.environ.get('PATH', '')}:/opt/VirtualGL/bin")


def needs_virtualgl(test: Test) -> Test:
    missing = pytest.mark.skipif(VGLRUN is None, reason="VirtualGL is not installed (vglrun on PATH, or in /opt)")
    return pytest.mark.virtualgl(missing(test))  # type: ignore[no-any-return]
