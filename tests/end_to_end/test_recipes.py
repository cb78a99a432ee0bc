"""The recipes for workflow engines, with the real ones; run by ``make test-recipes``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.documentation import BLOCKS
from tests.support.helpers import BIN, CHECKOUT
from tests.support.maps import Maps

pytestmark = pytest.mark.recipes

ENGINES = CHECKOUT / "build" / "recipes-venv" / "bin"
NAMES = {"a b", "c"}


@pytest.fixture
def home(maps: Maps) -> Path:
    if not ENGINES.exists():
        pytest.skip("make test-recipes installs the engines")
    for name in "subjects", "pics":
        (maps.folder / name).mkdir()
    for name in NAMES:
        (maps.folder / "subjects" / f"{name}.gii").touch()
    maps.script(BLOCKS["workflow-script"], "render.py")
    maps.script(BLOCKS["map-function"], "drawing.py")
    maps.environ["PATH"] = f"{ENGINES}:{BIN}:{maps.environ['PATH']}"
    maps.environ["ANAHEADLESS_PYTHON"] = str(ENGINES / "python")
    maps.environ["HOME"] = str(maps.folder)
    return maps.folder


def shell(command: str, maps: Maps) -> None:
    output = subprocess.run(
        ["bash", "-e", "-c", command], cwd=maps.folder, env=maps.environ, capture_output=True, text=True, timeout=120
    )
    assert output.returncode == 0, output


def run_block(name: str, maps: Maps) -> None:
    shell(BLOCKS[name].replace("$ ", "", 1), maps)


def pictures(folder: Path) -> set[str]:
    found = list(folder.rglob("*.png"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found)
    return {path.stem for path in found}


def test_snakemake(maps: Maps, home: Path) -> None:
    (home / "subjects" / "a b.gii").rename(home / "subjects" / "a.gii")  # the recipe's shell splits at blanks
    maps.script(BLOCKS["workflow-snakefile"], "Snakefile")
    run_block("workflow-snakemake", maps)
    assert pictures(home / "pics") == {"a", "c"}


def test_nipype(maps: Maps, home: Path) -> None:
    (home / "subjects" / "a b.gii").rename(home / "subjects" / "a.gii")  # nipype's CommandLine splits at blanks
    maps.script(BLOCKS["workflow-nipype-script"], "workflow.py")
    run_block("workflow-nipype", maps)
    assert pictures(home / "work") == {"a", "c"}


def test_joblib_with_a_run_for_each(maps: Maps, home: Path) -> None:
    maps.script(BLOCKS["workflow-joblib-threads"], "runs.py")
    shell("python runs.py", maps)
    assert pictures(home / "pics") == NAMES


def test_joblib_with_workers_on_one_display(maps: Maps, home: Path) -> None:
    maps.script(BLOCKS["workflow-joblib-workers"], "workers.py")
    run_block("workflow-joblib", maps)
    assert pictures(home / "pics") == NAMES


def test_script_of_the_nextflow_recipe(maps: Maps, home: Path) -> None:
    """Nextflow, which is on no package index, would put these values in, and run the script in a folder of its own."""
    script = BLOCKS["workflow-nextflow"].split('"""')[1]
    for name, value in {"$projectDir": str(home), "$surface": "c.gii", "${surface.baseName}": "c"}.items():
        assert name in script
        script = script.replace(name, value)
    shell(f"cd pics; ln -s ../subjects/c.gii .; {script}", maps)
    assert pictures(home / "pics") == {"c"}
