"""In a launched program ``import anatomist.headless`` is ours, in any Python; all else there is that of a plain one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anaheadless.launch.environment import SHIM
from tests.support import helpers
from tests.support.helpers import BIN, run
from tests.support.plain import other_python

PLAIN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ANAHEADLESS_NO_SHIM")}
DOUBLES = str(helpers.DOUBLES)
RUN = ("run", "--gl", "none")
# The launcher is a Python, too: here it does not read the user's sitecustomize.
UNCUSTOMIZED = ("-I", "-m", "anaheadless")

WHICH = """
try:
    import anatomist.headless
    print(anatomist.headless.__name__)
except ImportError as error:
    print(error)
"""
OURS, THEIRS, NONE = "anaheadless.api.anatomist_headless\n", "anatomist.headless\n", "No module named 'anatomist'\n"

# Of an interpreter: what the shim could change.
STATE = """
import sys
custom = sys.modules.get('sitecustomize')
state = {
    'path': sys.path,
    'modules': sorted(sys.modules),
    'finders': [repr(finder).partition(' at ')[0] for finder in sys.meta_path],
    'sitecustomize': getattr(custom, '__file__', None),
}
import json
print(json.dumps(state))
"""


def environ(path: str | Path | None = None, **variables: str) -> dict[str, str]:
    return {**PLAIN, **({} if path is None else {"PYTHONPATH": str(path)}), **variables}


def said(*command: str | Path, env: dict[str, str] | None = None, **settings: Any) -> str:
    """What a command prints that goes well; the first word is the launcher's, if it is not a path."""
    words = command if os.sep in str(command[0]) else (BIN / "anaheadless", *command)
    output = run(*words[1:], command=str(words[0]), env=PLAIN if env is None else env, **settings)
    assert (output.returncode, output.stderr) == (0, "")
    return output.stdout


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which nothing is installed, anaheadless neither."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def filled_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return folder / "bin" / "python"


@pytest.fixture
def venv(filled_venv: Path) -> Iterator[Path]:
    """The same, for a test that puts something in; it is taken out again."""
    yield filled_venv
    folder = site_packages(filled_venv)
    shutil.rmtree(folder)
    folder.mkdir()


def site_packages(venv: Path) -> Path:
    (folder,) = venv.parent.parent.glob("lib/python*/site-packages")
    return folder


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [
        pytest.param(WHICH, None, OURS, id="no Anatomist"),
        pytest.param(WHICH, DOUBLES, OURS, id="Anatomist"),
        pytest.param(f"import anatomist.api\n{WHICH}", DOUBLES, OURS, id="after its API"),
        pytest.param("from anatomist import headless; print(headless.__name__)", None, OURS, id="from, no Anatomist"),
        pytest.param("from anatomist import headless; print(headless.__name__)", DOUBLES, OURS, id="from"),
        pytest.param(
            "import anatomist.headless as h, anaheadless as a; print(h.setup_headless() is a.setup_headless())",
            None,
            "True\n",
            id="one state",
        ),
        pytest.param(
            "from anatomist.headless import stop_headless as a; from anaheadless import stop_headless as b\n"
            "print(a is b)",
            DOUBLES,
            "True\n",
            id="functions",
        ),
    ],
)
def test_anatomist_headless_is_ours(code: str, path: str | None, expected: str) -> None:
    assert said(*RUN, "-c", code, env=environ(path)) == expected


@pytest.mark.parametrize("path", [None, DOUBLES])
def test_children_have_it_and_the_session(path: str | None, script: Path) -> None:
    script.write_text(
        "import multiprocessing, os, subprocess, sys\n"
        "CHILD = 'import anatomist.headless as ana; print(ana.__name__, ana.setup_headless().display)'\n"
        "def child(_):\n"
        "    import anatomist.headless as ana\n"
        "    return f'{ana.__name__} {ana.setup_headless().display}'\n"
        "if __name__ == '__main__':\n"
        "    expected = f'anaheadless.api.anatomist_headless {os.environ[\"DISPLAY\"]}'\n"
        "    found = {subprocess.check_output([sys.executable, '-c', CHILD], text=True).strip()}\n"
        "    for method in multiprocessing.get_all_start_methods():\n"
        "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "            found.update(pool.map(child, range(2)))\n"
        "    print(found == {expected})\n"
    )
    assert said(*RUN, script, env=environ(path)) == "True\n"


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        ("import anatomist.api", "ModuleNotFoundError"),
        ("import importlib.util; importlib.util.find_spec('anatomist.api')", "ModuleNotFoundError"),
        ("import anatomist; anatomist.api", "AttributeError"),
        ("import anatomist; anatomist.setDefaultImplementation('threaded')", "AttributeError"),
    ],
)
def test_the_rest_of_a_missing_anatomist_is_missing(ask: str, error: str) -> None:
    code = f"try:\n    {ask}\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    words = said(*RUN, "-c", code)
    assert words.startswith(error)
    assert ask.rpartition("anatomist.")[2].partition("(")[0].rstrip("')") in words
    assert "Anatomist is not installed" in words


@pytest.mark.parametrize("path", [None, DOUBLES])
def test_outside_of_a_session_nothing_changes(path: str | None) -> None:
    """What a program starts outside of its session gets the module that is installed, or none."""
    ended = ["env", "-u", "ANAHEADLESS_SESSION", sys.executable, "-c", WHICH]
    assert said("exec", "--gl", "none", *ended, env=environ(path)) == (THEIRS if path else NONE)


@pytest.mark.parametrize("path", [None, "", DOUBLES, f":{DOUBLES}:", f"gone:{DOUBLES}:gone:relative"])
@pytest.mark.parametrize(
    ("options", "variables"),
    [
        pytest.param(("--no-shim",), {}, id="option"),
        pytest.param((), {"ANAHEADLESS_NO_SHIM": "1"}, id="variable"),
    ],
)
def test_no_shim_leaves_python_alone(options: tuple[str, ...], variables: dict[str, str], path: str | None) -> None:
    code = f"import os; print([os.environ.get('PYTHONPATH')])\n{WHICH}"
    expected = THEIRS if DOUBLES in str(path) else NONE
    assert said(*RUN, *options, "-c", code, env=environ(path, **variables)) == f"{[path]}\n{expected}"


def test_the_innermost_session_counts(tmp_path: Path) -> None:
    """The innermost one counts; the shim is there once, in front."""
    show = "import os; print(os.environ.get('PYTHONPATH'))\n" + WHICH
    inner = [str(BIN / "anaheadless"), *RUN]
    assert said(*RUN, "-c", show, env=environ(DOUBLES)) == f"{SHIM}:{DOUBLES}\n{OURS}"
    assert said("exec", "--gl", "none", *inner, "-c", show, env=environ(DOUBLES)) == f"{SHIM}:{DOUBLES}\n{OURS}"
    without = ["exec", "--gl", "none", *inner, "--no-shim", "-c", show]
    assert said(*without, env=environ(DOUBLES)) == f"{DOUBLES}\n{THEIRS}"
    assert said(*without) == f"None\n{NONE}"
    within = ["exec", "--gl", "none", "--no-shim", *inner, "-c", show]
    assert said(*within, env=environ(DOUBLES)) == f"{SHIM}:{DOUBLES}\n{OURS}"


@pytest.mark.parametrize("path", [None, "", "one:two", ":one", "one:", "one::two", "one:one", ":"])
def test_the_search_path_is_that_of_a_plain_python(path: str | None, tmp_path: Path) -> None:
    """sys.path is that of a plain Python, however the program is named; PYTHONPATH is ours, then the user's."""
    (tmp_path / "script.py").write_text("import sys; print(sys.path)\n")
    names = "$0 script.py; $0 -m script; $0 -c 'import sys; print(sys.path)'; $0 - <script.py"
    words = ["/bin/sh", "-c", f"{names}; echo $PYTHONPATH", sys.executable]
    *plain, before = said(*words, env=environ(path), cwd=tmp_path).splitlines()
    *launched, after = said("exec", "--gl", "none", *words, env=environ(path), cwd=tmp_path).splitlines()
    assert launched == plain
    assert len(plain) == 4
    if path == "one:one":  # the second one changes nothing
        before = "one"
    assert after.rstrip(":") == f"{SHIM}:{before}".rstrip(":")


def states(python: Path | str, *options: str, env: dict[str, str] | None = None) -> tuple[Any, Any]:
    """What STATE says of a plain interpreter, and of one in a session."""
    words = [str(python), *options, "-c", STATE]
    return json.loads(said(*words, env=env)), json.loads(said("exec", "--gl", "none", *words, env=env))


@pytest.mark.parametrize("options", [["-S"], ["-I"], ["-E"], ["-I", "-S"]], ids=" ".join)
def test_options_of_python_can_leave_the_shim_out(options: list[str]) -> None:
    plain, launched = states(sys.executable, *options)
    if "-S" in options and "-I" not in options:
        assert launched["path"].pop(1) == SHIM
    assert launched == plain
    code = f"import os\n{WHICH}"
    assert said(BIN / "anaheadless-python", *options, "-c", code, env=environ(ANAHEADLESS_GL="none")) == NONE


def test_start_up_loads_the_shim_and_nothing_else(empty_venv: Path) -> None:
    for python in sys.executable, empty_venv:
        plain, launched = states(python)
        assert launched["path"] == plain["path"]
        # __future__ is next to nothing; the modules of importlib, typing and the like are not.
        extra = set(launched["modules"]) - set(plain["modules"]) - {"__future__"}
        assert extra == {"anaheadless_shim", "sitecustomize"} - set(plain["modules"])  # Debian's has one
        first, *others, last = launched["finders"]
        assert first == "<anaheadless_shim.FirstFinder object"
        assert last == "<anaheadless_shim.LastFinder object"
        assert others == plain["finders"]


def test_python_has_nothing_to_warn_of() -> None:
    code = "import anatomist.headless as ana; ana.setup_headless(); ana.test_glx(); ana.stop_headless()"
    options = ["-X", "dev", "-X", "warn_default_encoding", "-W", "error", "-bb"]
    assert said(BIN / "anaheadless-python", *options, "-c", code) == ""


CUSTOMIZATIONS = {
    "quiet": "import os, sys\nseen = list(sys.path)\n",
    "talking": "import sys\nprint('custom', __name__, __file__, sys.path)\nprint('more', file=sys.stderr)\n",
    "changing sys.path": "import sys\nsys.path.insert(0, '/first')\nsys.path.append('/last')\n",
    "failing": "print('custom')\n1 / 0\n",
    "syntax error": "print('custom'\n",
    "import that fails": "print('custom')\nimport a_module_that_is_not_there\n",
    "import error of its own": "print('custom')\nraise ImportError('of its own')\n",
    "import error that names it": "print('custom')\nraise ImportError('of its own', name='sitecustomize')\n",
    "one that replaces itself": "import sys\nprint('custom')\nsys.modules[__name__] = sys\n",
    "one that imports itself": "import sitecustomize\nprint('custom', sitecustomize.__file__)\n",
}


@pytest.mark.parametrize("place", ["PYTHONPATH", "site-packages"])
@pytest.mark.parametrize("name", CUSTOMIZATIONS)
def test_the_users_sitecustomize_runs_once(name: str, place: str, venv: Path, empty_venv: Path, tmp_path: Path) -> None:
    """It runs once, has its name, and fails as it does without us."""
    if place == "PYTHONPATH":
        python, folder, variables = empty_venv, tmp_path / "mine", environ(tmp_path / "mine")
        folder.mkdir()
    else:
        python, folder, variables = venv, site_packages(venv), environ()
    (folder / "sitecustomize.py").write_text(CUSTOMIZATIONS[name])
    show = (
        "import sys\ncustom = sys.modules.get('sitecustomize')\n"
        f"print(sys.path, getattr(custom, '__file__', None), getattr(custom, 'seen', None), sep='\\n')\n{WHICH}"
    )
    plain = run("-c", show, command=str(python), env=variables)
    launched = run(*UNCUSTOMIZED, *RUN, "--python", python, "-c", show, command=sys.executable, env=variables)
    assert plain.returncode == launched.returncode == 0
    expected = plain.stdout.replace(NONE, OURS)
    if name == "import error that names it":  # which is taken for there being none
        expected = expected.replace("\nNone\nNone\n", f"\n{SHIM}/sitecustomize.py\nNone\n")
    assert launched.stdout == expected
    assert launched.stderr == plain.stderr


def test_the_users_sitecustomize_may_be_a_package_or_in_a_zip_file(empty_venv: Path, tmp_path: Path) -> None:
    (tmp_path / "package" / "sitecustomize").mkdir(parents=True)
    (tmp_path / "package" / "sitecustomize" / "__init__.py").write_text("print('custom')\n")
    shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "package")
    for path in tmp_path / "package", tmp_path / "archive.zip":
        plain, launched = (
            said(*words, "-c", "import sitecustomize; print(sitecustomize.__file__)", env=environ(path))
            for words in ([empty_venv], [sys.executable, *UNCUSTOMIZED, *RUN, "--python", empty_venv])
        )
        assert launched == plain
        assert plain.startswith("custom\n")


def test_pth_files_run_once(venv: Path) -> None:
    """As coverage.py's does, which starts it in children."""
    (site_packages(venv) / "starter.pth").write_text("import starter\n")
    (site_packages(venv) / "starter.py").write_text("import sys\nprint('starter', 'sitecustomize' in sys.modules)\n")
    (site_packages(venv) / "sitecustomize.py").write_text("print('custom')\n")
    plain = said(venv, "-c", "")
    assert plain in ("starter False\ncustom\n", "starter False\n")  # Debian's Python has a sitecustomize of its own
    assert said(*RUN, "--python", venv, "-c", "") == plain


OTHERS = [f"python3.{minor}" for minor in range(8, 15) if minor != sys.version_info.minor]


@pytest.mark.parametrize("name", ["venv", "system", *OTHERS])
def test_it_works_in_any_python(name: str, empty_venv: Path, tmp_path: Path) -> None:
    """Ours is there, all of it, although anaheadless is not installed; also when the program left its display."""
    if name == "venv":
        python = str(empty_venv)
    elif name == "system":
        python = other_python(shutil.which("python3", path=os.defpath) or "/usr/bin/python3")
    else:
        python = other_python(name)
    (tmp_path / "own.py").write_text("class Own: pass\n")
    code = f"""{WHICH}
import json, os, sys
sys.modules.update(dict.fromkeys(['PyQt5', 'PyQt6', 'PySide2', 'PySide6']))  # as if there were none of them
ana = anatomist.headless
info = ana.setup_headless()
print(json.dumps([info.headless, info.display == os.environ['DISPLAY'], info.glx, ana.test_glx(), ana.test_qapp()]))
print(type(ana.HeadlessAnatomist(implementation='own.Own')).__name__)
ana.test_opengl(), ana.find_mesa(), ana.setup_virtualGL()
with ana.virtual_display(gl='none') as display:
    print(display.display != info.display)
ana.stop_headless()
os.environ['DISPLAY'] = ':4711'
server = ana.setup_headless(need_opengl=False).virtual_display_proc
print(server.pid != info.virtual_display_proc.pid)
server.terminate()
print(server.wait(30))
ana.stop_headless()
print(os.environ['DISPLAY'])
"""
    launched = said("run", "--python", python, "-c", code, env=environ(DOUBLES), cwd=tmp_path)
    assert launched == f"{OURS}[true, true, 2, 2, null]\nOwn\nTrue\nTrue\n0\n:4711\n"
    plain, launched = states(python)
    assert launched["path"] == plain["path"]
    extra = set(launched["modules"]) - set(plain["modules"]) - {"__future__"}
    assert extra | {"sitecustomize"} == {"anaheadless_shim", "sitecustomize"}
    assert launched["sitecustomize"] == (plain["sitecustomize"] or f"{SHIM}/sitecustomize.py")


@pytest.mark.parametrize("name", ["python2.7", "python3.6", "python3.7"])
def test_old_pythons_are_left_alone(name: str, tmp_path: Path) -> None:
    python = other_python(name)
    (tmp_path / "sitecustomize.py").write_text("print('custom')\n")
    for path, custom in (None, ""), (tmp_path, "custom\n"):
        code = "import sys; print(sys.path)"
        launched = said(sys.executable, *UNCUSTOMIZED, *RUN, "--python", python, "-c", code, env=environ(path))
        assert launched == said(python, "-c", code, env=environ(path))
        assert launched.startswith(custom)
    plain, launched_state = states(python)
    assert launched_state["finders"] == plain["finders"]
