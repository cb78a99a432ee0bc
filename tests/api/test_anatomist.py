"""``anatomist.headless`` is ours, and gives out any Anatomist; the one here is a double (tests/support/doubles)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from anaheadless.api import anatomist_headless
from tests.support.helpers import DOUBLES, run

ENVIRON = {**os.environ, "PYTHONPATH": str(DOUBLES)}
WITHOUT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

SIMPLE = """\
import anatomist.headless as ana
a = ana.HeadlessAnatomist()
"""
SNAPSHOT = """\
import anatomist.headless as hana
a = hana.HeadlessAnatomist()
mesh = a.loadObject('subject01_Lhemi.mesh')
w = a.createWindow('3D')
w.addObjects(mesh)
w.snapshot('snapshot.jpg', width=3000, height=2500)
"""
NO_VIRTUALGL = """\
import anatomist.headless as hana
a = hana.HeadlessAnatomist('-b', allow_virtualgl=False)
"""
NOTEBOOK = """\
import anatomist.headless as ana
a = ana.HeadlessAnatomist()
from anatomist.notebook.api import AnatomistInteractiveWidget
"""
NOTEBOOK_ITSELF = """\
from anatomist.notebook import Anatomist
a = Anatomist()
"""
ALIAS = """\
import anatomist.headless as ana
a = ana.Anatomist()
"""
AS_THE_API = """\
import anatomist
anatomist.setDefaultImplementation(anatomist.HEADLESS)
import anatomist.api as ana
a = ana.Anatomist()
"""
OURS = """\
from anaheadless import HeadlessAnatomist
a = HeadlessAnatomist('-b')
"""
FALLBACK = """\
try:
    from anatomist import headless as ana
    a = ana.HeadlessAnatomist()
except Exception:
    from anatomist.direct import api as ana
    a = ana.Anatomist('on a screen')
"""
PARTIAL = """\
from functools import partial
from anatomist.headless import HeadlessAnatomist
Anatomist = partial(HeadlessAnatomist, implementation='anatomist.threaded.api.Anatomist')
a = Anatomist('-b')
"""
SETTING = """\
import anatomist.headless as hana
hana.force_virtualgl = False
a = hana.HeadlessAnatomist('-b')
"""
SET_UP_FIRST = """\
import anatomist.headless as ana
ana.setup_headless()
a = ana.HeadlessAnatomist()
"""

REPORT = """
import json, os
info = vars(a.headless_info).copy()
server, qapp = info.pop('virtual_display_proc'), info.pop('qapp')
print(json.dumps([f'{type(a).__module__}.{type(a).__qualname__}', a.arguments, info, os.environ['DISPLAY']]))
"""
DIRECT = "anatomist.direct.api.Anatomist"
NOTEBOOK_CLASS = "anatomist.notebook.api.NotebookAnatomist"


def printed(code: str, *options: str, **settings: Any) -> str:
    """What a launched program prints, that has an Anatomist and not a word to say on stderr."""
    output = run("run", *options, "-c", code, **{"env": ENVIRON, **settings})
    assert (output.returncode, output.stderr) == (0, "")
    return output.stdout


def report(code: str, *options: str, **settings: Any) -> Any:
    """Class, constructor's arguments and headless_info of the Anatomist *a* of *code*, and DISPLAY."""
    return json.loads(printed(code + REPORT, *options, **settings))


@pytest.mark.parametrize(
    ("code", "found", "arguments"),
    [
        pytest.param(SIMPLE, DIRECT, [], id="simple"),
        pytest.param(NO_VIRTUALGL, DIRECT, ["-b"], id="no VirtualGL"),
        pytest.param(NOTEBOOK, DIRECT, [], id="in a notebook"),
        pytest.param(NOTEBOOK_ITSELF, NOTEBOOK_CLASS, [], id="notebook"),
        pytest.param(ALIAS, DIRECT, [], id="alias"),
        pytest.param(AS_THE_API, DIRECT, [], id="as the API"),
        pytest.param(OURS, DIRECT, ["-b"], id="our own name"),
        pytest.param(FALLBACK, DIRECT, [], id="try"),
        pytest.param(PARTIAL, "anatomist.threaded.api.Anatomist", ["-b"], id="partial"),
        pytest.param(SETTING, DIRECT, ["-b"], id="setting"),
        pytest.param(SET_UP_FIRST, DIRECT, [], id="set up first"),
    ],
)
def test_examples_of_brainvisa_work(code: str, found: str, arguments: list[str]) -> None:
    kind, given, info, display = report(code)
    assert (kind, given) == (found, [arguments, {}])
    assert (info["headless"], info["glx"], info["display"]) == (True, 2, display)


def test_a_snapshot_shows_the_window(tmp_path: Path) -> None:
    """Larger than the screen, and drawn by OpenGL."""
    look = """
from PyQt5.QtGui import QImage
picture = QImage('snapshot.jpg')
print(picture.width(), picture.height())
for x, y in (1500, 1250), (3, 3):
    color = picture.pixelColor(x, y)
    print(*(channel // 128 for channel in color.getRgb()[:3]))
print(a.headless_info.renderer == w.view.renderer != '')
"""
    assert printed(SNAPSHOT + look, cwd=tmp_path) == "3000 2500\n1 0 0\n0 0 1\nTrue\n"
    assert os.listdir(tmp_path) == ["snapshot.jpg"]


@pytest.mark.parametrize(("options", "glx"), [((), 2), (("--gl", "none"), 0)])
def test_headless_info_describes_the_session(options: tuple[str, ...], glx: int) -> None:
    check = """
import psutil
server = psutil.Process(a.headless_info.virtual_display_proc.pid)
keeper = int(os.environ['ANAHEADLESS_SESSION'].partition(',')[2])
print(server.ppid() == keeper, a.headless_info.virtual_display_proc.poll(), qapp is a.application)
"""
    environ = {**ENVIRON, "DISPLAY": ":4711"}
    output = printed(SIMPLE + REPORT + check, *options, env=environ).splitlines()
    _, _, info, display = json.loads(output[0])
    assert output[1] == "True None True"
    assert (info["headless"], info["display"], info["original_display"]) == (True, display, ":4711")
    assert (info["qtapp"], info["glx"]) == (None, glx)
    assert (info["backend"] == "none", info["renderer"] is None) == (glx == 0, glx == 0)
    assert info["virtualgl"] == (info["backend"] == "virtualgl")
    assert info["mesa"] == (info["backend"] == "mesa")


@pytest.mark.parametrize(
    ("given", "forced"), [("", True), ("force_virtualgl=False", False), ("force_virtualgl=True", True)]
)
def test_settings_count_where_an_argument_is_missing(given: str, forced: bool) -> None:
    """It matters where the session has ended; so it is looked at where it is passed on."""
    code = f"""
import anaheadless.api.setup
import anatomist.headless as hana
original = anaheadless.api.setup.setup_headless
def setup_headless(allow_virtualgl, force_virtualgl, need_opengl, *, qapp=False):
    print(force_virtualgl)
    return original(need_opengl=False)
anaheadless.api.setup.setup_headless = setup_headless
hana.force_virtualgl = True
hana.HeadlessAnatomist({given})
"""
    assert printed(code, "--gl", "none") == f"{forced}\n"


# --- what the original's names stand for


def test_names_of_the_original_module_are_there() -> None:
    code = """
import anatomist.headless as ana
from anatomist.headless import headless, qt_backend
import soma.qt_gui.headless, soma.qt_gui.qt_backend
print(headless is ana.headless is soma.qt_gui.headless, qt_backend is ana.qt_backend is soma.qt_gui.qt_backend)
print(ana.hanatomist)
a = ana.HeadlessAnatomist()
print(ana.hanatomist is a)
"""
    assert printed(code, "--gl", "none") == "True True\nNone\nTrue\n"


def test_names_of_the_original_module_are_there_without_soma() -> None:
    code = """
import sys
sys.modules['soma'] = None
import anatomist.headless as ana
print([hasattr(ana, name) for name in ('hanatomist', 'headless', 'qt_backend', 'magic')])
a = ana.HeadlessAnatomist()
print(ana.setup_headless().qapp is a.application)
"""
    assert printed(code, "--gl", "none") == "[True, False, False, False]\nTrue\n"


TRUTH = """
import os
from soma.qt_gui import headless, qt_backend
info = a.headless_info
print(headless.headless_initialized is info, headless.virtual_display_proc is info.virtual_display_proc)
print(os.environ['DISPLAY'] == f':{headless.display}', headless.original_display, qt_backend.headless)
"""


@pytest.mark.parametrize("code", [SIMPLE, SET_UP_FIRST, f"import soma.qt_gui.headless\n{SIMPLE}"])
def test_soma_tells_of_the_session(code: str) -> None:
    environ = {**ENVIRON, "DISPLAY": ":4711"}
    assert printed(code + TRUTH, "--gl", "none", env=environ) == "True True\nTrue :4711 True\n"


def test_ending_the_display_by_soma_leaves_the_session() -> None:
    """The session is the launcher's, and stays; soma's variables are as before."""
    code = """
headless.terminate_virtual_display()
print(headless.headless_initialized, headless.virtual_display_proc, headless.display, qt_backend.headless)
print(info.virtual_display_proc.poll())
"""
    said = printed(SIMPLE + TRUTH + code, "--gl", "none").splitlines()
    assert said[-2:] == ["None None None False", "None"]


FROM_SOMA = """\
from soma.qt_gui.qt_backend import Qt, QtWidgets
class Own:
    def __init__(self):
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
"""
FROM_QT = """\
from PyQt5 import QtWidgets
class Own:
    def __init__(self):
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
"""


@pytest.mark.parametrize("before", ["", "ana.setup_headless()", "import soma.qt_gui.qt_backend"])
@pytest.mark.parametrize("module", [FROM_SOMA, FROM_QT], ids=["Qt from soma", "Qt from PyQt5"])
def test_there_is_one_application(module: str, before: str, tmp_path: Path) -> None:
    """Made by us, by soma or by Anatomist, it is the one that all others find."""
    (tmp_path / "own.py").write_text(module)
    code = f"""
from PyQt5 import QtWidgets
made = []
class Counted(QtWidgets.QApplication):
    def __init__(self, *args):
        super().__init__(*args)
        made.append(self)
QtWidgets.QApplication = Counted
import anatomist.headless as ana
{before}
a = ana.HeadlessAnatomist(implementation='own.Own')
from soma.qt_gui.qt_backend import Qt
info = ana.setup_headless()
print(len(made), a.application is info.qapp is made[0], info.qapp.platformName())
"""
    assert printed(code, "--gl", "none", cwd=tmp_path) == "1 True xcb\n"


def test_constructor_arguments_are_passed_on() -> None:
    """All of them are passed on, but for those that are ours."""
    code = (
        "from anatomist.headless import HeadlessAnatomist\n"
        "a = HeadlessAnatomist('-b', '-x', implementation='threaded', allow_virtualgl=False, force_virtualgl=True, "
        "create=True)\n"
    )
    _, arguments, _, _ = report(code, "--gl", "none")
    assert arguments == [["-b", "-x"], {"create": True}]


def test_there_is_one_anatomist() -> None:
    again = """
import threading, anaheadless
import anatomist.headless as later
others = [
    ana.HeadlessAnatomist('-x', implementation='threaded'),
    ana.Anatomist(implementation='no such one'),
    anaheadless.HeadlessAnatomist(allow_virtualgl=False),
    anaheadless.headless.HeadlessAnatomist(),
]
import anatomist.api, anatomist.notebook
others += [anatomist.notebook.Anatomist(), anatomist.api.Anatomist()]
print([other is a for other in others], later is ana, ana.hanatomist is a, a.arguments)
print(a.headless_info is ana.setup_headless() is anaheadless.setup_headless())
"""
    assert printed(SIMPLE + again, "--gl", "none") == f"{[True] * 6} True True [[], {{}}]\nTrue\n"


def test_there_is_one_anatomist_for_all_threads(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Own: pass\n")
    code = """
import threading
import anatomist.headless as ana
found = []
threads = [
    threading.Thread(target=lambda: found.append(ana.HeadlessAnatomist(implementation='own.Own'))) for _ in range(20)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), len(set(found)))
"""
    assert printed(code, "--gl", "none", cwd=tmp_path) == "20 1\n"


@pytest.mark.parametrize(
    ("implementation", "found"),
    [
        ("direct", DIRECT),
        ("threaded", "anatomist.threaded.api.Anatomist"),
        ("nbanatomist", NOTEBOOK_CLASS),
        ("notebook", NOTEBOOK_CLASS),
        ("anatomist.direct.api.Anatomist", DIRECT),
        ("anatomist.threaded.Anatomist", "anatomist.threaded.api.Anatomist"),
        (NOTEBOOK_CLASS, NOTEBOOK_CLASS),
        ("own.Own", "own.Own"),
        ("__main__.Mine", "__main__.Mine"),
    ],
)
def test_every_implementation_can_be_had(implementation: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Own:\n    def __init__(self, *args, **kwargs):\n        self.arguments = [args, kwargs]\n"
    )
    code = (
        "import anatomist.headless as ana, own\n"
        "class Mine(own.Own): pass\n"
        f"a = ana.HeadlessAnatomist('-b', implementation={implementation!r})\n"
    )
    kind, arguments, info, display = report(code, "--gl", "none", cwd=tmp_path)
    assert (kind, arguments, info["display"]) == (found, [["-b"], {}], display)


@pytest.mark.parametrize(
    ("default", "given", "found"),
    [
        ("THREADED", "", "anatomist.threaded.api.Anatomist"),
        ("NOTEBOOK", "", NOTEBOOK_CLASS),
        ("HEADLESS", "", DIRECT),
        ("THREADED", "implementation='direct'", DIRECT),
        ("HEADLESS", "implementation='threaded'", "anatomist.threaded.api.Anatomist"),
        ("THREADED", "implementation=None", "anatomist.threaded.api.Anatomist"),
    ],
)
def test_the_default_implementation_is_the_direct_one(default: str, given: str, found: str) -> None:
    """What is given wins; HEADLESS, which would be this function again, is the direct one."""
    code = (
        f"import anatomist\nanatomist.setDefaultImplementation(anatomist.{default})\n"
        f"import anatomist.headless as ana\na = ana.HeadlessAnatomist({given})\n"
    )
    assert report(code, "--gl", "none")[0] == found


@pytest.mark.parametrize(
    "implementation",
    ["magic", "anatomist.magic.Anatomist", "anatomist.direct.magic", "anatomist.direct.api.magic", "magic.Anatomist"],
)
def test_an_unknown_implementation_is_named(implementation: str) -> None:
    """It is named, and another one can be had afterwards."""
    code = f"""
import anatomist.headless as ana
try:
    ana.HeadlessAnatomist(implementation={implementation!r})
except ImportError as error:
    print(error)
a = ana.HeadlessAnatomist()
print(type(a).__module__)
"""
    said, module = printed(code, "--gl", "none").splitlines()
    assert "magic" in said
    assert module == "anatomist.direct.api"


@pytest.mark.parametrize("given", ["", "implementation='direct'", f"implementation={NOTEBOOK_CLASS!r}"])
@pytest.mark.parametrize("launched", [pytest.param(True, id="launched"), pytest.param(False, id="not launched")])
def test_a_missing_anatomist_is_said_with_the_way_to_get_it(launched: bool, given: str) -> None:
    """The error says what is missing, and how to get it."""
    module = "anatomist.headless" if launched else "anaheadless"
    code = (
        f"from {module} import HeadlessAnatomist\n"
        f"try:\n    HeadlessAnatomist({given})\nexcept ImportError as error:\n    print(error.name, error)\n"
    )
    if launched:
        said = printed(code, "--gl", "none", env=WITHOUT)
    else:
        output = run("-c", code, command=sys.executable, env=WITHOUT)
        assert (output.returncode, output.stderr) == (0, "")
        said = output.stdout
    assert said.startswith("anatomist Anatomist is not installed for this Python")
    assert "https://brainvisa.info/" in said
    assert "--python" in said


def test_what_an_anatomist_lacks_is_named(tmp_path: Path) -> None:
    """An Anatomist that is installed, but not whole: what it lacks is named, as without us."""
    (tmp_path / "anatomist" / "direct").mkdir(parents=True)
    (tmp_path / "anatomist" / "__init__.py").write_text(
        "def getDefaultImplementationModuleName():\n    return 'anatomist.direct'\n"
    )
    (tmp_path / "anatomist" / "direct" / "__init__.py").touch()
    (tmp_path / "anatomist" / "direct" / "api.py").write_text("import some_binding_of_aims\n")
    output = run("run", "--gl", "none", "-c", SIMPLE, env={**ENVIRON, "PYTHONPATH": str(tmp_path)})
    assert output.returncode == 1
    assert output.stderr.endswith("ModuleNotFoundError: No module named 'some_binding_of_aims'\n")


def test_all_else_is_the_anatomist_that_is_installed() -> None:
    code = """
import anatomist, anatomist.api, anatomist.base, anatomist.direct.api, anatomist.notebook.api, anatomist.headless
from anatomist import headless
print(headless is anatomist.headless, headless.__file__)
modules = anatomist, anatomist.api, anatomist.base, anatomist.direct.api, anatomist.notebook, anatomist.notebook.api
print(*(module.__file__ for module in modules), sep='\\n')
"""
    ours, *files = printed(code, "--gl", "none").splitlines()
    assert ours == f"True {anatomist_headless.__file__}"
    expected = ["__init__", "api", "base", "direct/api", "notebook/__init__", "notebook/api"]
    assert files == [str(DOUBLES / "anatomist" / f"{name}.py") for name in expected]


@pytest.mark.parametrize("name", ["HeadlessAnatomist", "Anatomist"])
def test_a_plain_program_gets_a_display_too(name: str, tmp_path: Path) -> None:
    """The same from ``anaheadless``, in any program; it ends as if nothing had been."""
    code = SNAPSHOT.replace("import anatomist.headless as hana", "import anaheadless as hana").replace(
        "HeadlessAnatomist", name
    )
    environ = {variable: value for variable, value in ENVIRON.items() if variable not in ("DISPLAY", "XAUTHORITY")}
    output = run("-c", code + REPORT, command=sys.executable, env=environ, cwd=tmp_path)
    assert (output.returncode, output.stderr) == (0, "")
    kind, arguments, info, display = json.loads(output.stdout)
    assert (kind, arguments) == (DIRECT, [[], {}])
    assert (info["headless"], info["glx"], info["display"], info["original_display"]) == (True, 2, display, None)
    assert (tmp_path / "snapshot.jpg").read_bytes().startswith(b"\xff\xd8")
