"""The wings of the house: who imports whom, what is said of them, and that the tests mirror them."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from tests.support.helpers import CHECKOUT

WINGS = ("cli", "api", "diagnostics", "batch", "launch", "session", "opengl", "x11", "system")
FOR_ALL = ("options", "errors", "packages")
TESTS = CHECKOUT / "tests"
# What tests no wing alone.
ASIDE = {"bench", "docs", "end_to_end", "integrations"}


def wing_of(module: str) -> str:
    """The wing of a module, as ``session.keeper``; the faces of the API are in that one."""
    first = module.partition(".")[0]
    return "api" if first in ("dask", "headless", "pytest_plugin") else first


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, and the names that it imports from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{each.name}" for each in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The modules of the package that a file imports, as ``session.keeper``."""
    return {name.partition(".")[2] for name in imports_of(path) if name.startswith("anaheadless.")}


def test_wings_import_only_what_is_below_them() -> None:
    package = CHECKOUT / "anaheadless"
    wrong = []
    for wing in (*WINGS, *(f"{name}.py" for name in FOR_ALL)):
        for path in sorted((package / wing).rglob("*.py")) or [package / wing]:
            # What is for all of them stands below the launch, and above what it is made of.
            place = WINGS.index(wing) if wing in WINGS else WINGS.index("system") - 1
            for name in sorted(ours(path)):
                imported = wing_of(name)
                if imported in WINGS and WINGS.index(imported) < place:
                    wrong.append(f"{path.relative_to(package)} imports {name}")
    assert wrong == []


def test_no_module_imports_one_that_imports_it() -> None:
    package = CHECKOUT / "anaheadless"
    files = {".".join(path.relative_to(package).with_suffix("").parts): path for path in package.rglob("*.py")}
    # A name such as session.protocol.END is one of the module before its last dot.
    graph = {
        name: {module for each in ours(path) for module in (each, each.rpartition(".")[0]) if module in files}
        for name, path in files.items()
        if path.stem != "__init__"
    }
    TopologicalSorter(graph).prepare()  # which raises an error that names the circle


def test_every_module_is_described() -> None:
    text = (CHECKOUT / "docs" / "explanation" / "architecture.rst").read_text()
    described = dict(re.findall(r"^``(\w+)``: .*\n\n((?:(?:=|``).*\n)+)", text, re.MULTILINE))
    assert tuple(described) == WINGS
    for wing, table in described.items():
        folder = CHECKOUT / "anaheadless" / wing
        modules = [str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.stem != "__init__"]
        assert sorted(re.findall(r"^``([\w/]+\.py)``", table, re.MULTILINE)) == sorted(modules)


def test_tests_mirror_the_wings() -> None:
    modules = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert {module.parts[0] for module in modules} == {*WINGS} | ASIDE
    assert {len(module.parts) for module in modules} == {2}


def test_no_test_module_imports_another() -> None:
    """What two of them need lies in support/, which needs none of them."""
    wrong = []
    doubles = set((TESTS / "support" / "doubles").rglob("*.py"))  # a package like any that is installed
    for path in sorted({*TESTS.rglob("*.py")} - doubles):
        for name in sorted(imports_of(path)):
            if name.partition(".")[0] in ("", "tests", "conftest") and not name.startswith("tests.support"):
                wrong.append(f"{path.relative_to(TESTS)} imports {name}")
    assert wrong == []
