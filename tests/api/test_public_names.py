"""The public names are the same in all modules that export them."""

from __future__ import annotations

import importlib
import posixpath
from typing import Any

import pytest

import anaheadless


@pytest.mark.parametrize("name", ["anaheadless", "anaheadless.headless", "anaheadless.api.anatomist_headless"])
def test_every_module_exports_all_public_names(name: str) -> None:
    module = importlib.import_module(name)
    assert set(anaheadless.__all__) <= set(dir(module))
    assert all(hasattr(module, each) for each in anaheadless.__all__)
    exported: dict[str, Any] = {}
    exec(f"from {name} import *", exported)
    assert exported.keys() - {"__builtins__"} == set(anaheadless.__all__)


def test_map_is_public_but_does_not_replace_pythons_own() -> None:
    exported: dict[str, Any] = {}
    exec("from anaheadless import *; same = list(map(str, [1]))", exported)
    assert exported["same"] == ["1"]
    assert {"map", "MapResult"} <= set(dir(anaheadless))
    assert [found.value for found in anaheadless.map(posixpath.basename, ["a/b"], gl="none")] == ["b"]


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'anaheadless' has no attribute 'setup_headles'"):
        anaheadless.setup_headles  # type: ignore[attr-defined]  # noqa: B018
