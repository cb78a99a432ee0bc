"""Libraries, as the linker's tools list them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anaheadless.diagnostics import inspection
from anaheadless.system import libraries


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")


@pytest.fixture(scope="module")
def tools(folder: Path) -> Iterator[Path]:
    """What ldconfig and ldd say, where they are said to be."""
    said = folder / "said"
    for name in "ldconfig", "ldd":
        (folder / name).write_text(f"#!/bin/sh\nexec cat {said}\n")
        (folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield said


LINES = st.lists(st.one_of(st.binary(), st.sampled_from([b" => ", b"=> not found", b"a => not found", b"\n"])))


@settings(max_examples=30)
@given(LINES)
def test_any_answer_of_the_linkers_tools_can_be_read(tools: Path, lines: list[bytes]) -> None:
    tools.write_bytes(b"".join(lines))
    assert all(isinstance(path, str) for path in libraries.linker_cache())
    assert all(isinstance(name, str) for name in inspection.missing_libraries("plugin.so"))
