"""``anaheadless doctor`` says what run would find, choose and need, and its status is the truth about run."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from anaheadless import packages
from anaheadless.diagnostics import doctor
from anaheadless.opengl import candidates
from anaheadless.options import OpenGLRequest
from anaheadless.system import libraries
from tests.support.drivers import BROKEN, HANGS, broken_gl, lacking_vendor
from tests.support.helpers import ANAHEADLESS, CHECKOUT, PROGRAMS, gcc, run
from tests.support.namespaces import PrivateTmp, in_namespaces, needs_namespaces

NO_GLX = ("--server-arg=-extension", "--server-arg=GLX")


def report(*options: str, status: int = 0, **settings: Any) -> dict[str, Any]:
    output = run("doctor", "--json", *options, **settings)
    assert (output.returncode, output.stderr) == (status, "")
    found = json.loads(output.stdout)
    assert found["works"] is (status == 0)
    return dict(found)


def test_names_in_json_are_the_documented_ones() -> None:
    """Each name that the object has stands in docs/reference/doctor-json.rst, and each that stands there is in it."""
    page = CHECKOUT / "docs" / "reference" / "doctor-json.rst"
    tree = publish_doctree(page.read_text(), settings_overrides={"halt_level": 2})
    documented = {
        literal.astext()
        for table in tree.findall(nodes.table)
        for row in table.findall(nodes.row)
        for literal in next(iter(row.findall(nodes.entry))).findall(nodes.literal)
    }

    def names(value: Any, prefix: str) -> set[str]:
        if isinstance(value, dict) and not prefix.endswith((".packages", ".variables")):
            return {
                name for key, inner in value.items() for name in {f"{prefix}.{key}", *names(inner, f"{prefix}.{key}")}
            }
        if isinstance(value, list):
            return {name for inner in value for name in names(inner, f"{prefix}[]")}
        return set()

    found = {name.removeprefix(".") for name in names(report("--gl", "native"), "")}
    found |= {name.removeprefix(".") for name in names(report("--server-arg=-nonsense", status=1), "")}
    assert found <= documented
    only_elsewhere = {
        name
        for name in documented
        if name.startswith(
            ("gpus[]", "devices[]", "causes[]", "field_tools[]", "vulkan_devices[]", "virtualgl.", "python.error")
        )
    }
    assert documented - found <= only_elsewhere


@pytest.mark.needs("xdpyinfo")
def test_it_finds_what_is_here() -> None:
    found = report()
    tools = {tool["name"]: tool for tool in found["tools"]}
    assert tools["Xvfb"]["path"].endswith("/Xvfb")
    assert re.search(r"\d", tools["xdpyinfo"]["version"])
    assert tools["Xvfb"]["packages"]["apt"] == "xvfb"
    (pyqt5,) = (binding for binding in found["qt"] if binding["name"] == "PyQt5")
    assert pyqt5["xcb_plugin"].endswith("libqxcb.so")
    assert pyqt5["missing"] == []
    servers = {server["name"]: server for server in found["servers"]}
    assert list(servers) == ["xvfb", "xwayland", "xvnc", "xorg"]
    assert all(server["error"] is None for server in servers.values())
    assert all(bool(server["path"]) == bool(server["glx"]) == bool(server["renderer"]) for server in servers.values())
    assert servers[found["display"]["server"]]["path"]
    proved = found["candidates"][-1]
    assert (proved["result"], found["choice"]["name"]) == ("drawn", proved["name"])
    assert proved["renderer"]


def test_it_finds_the_opengl_that_run_chooses() -> None:
    said = run("run", "-v", "-c", "pass").stderr
    assert f"OpenGL: {report()['choice']['label']}\n" in said


def test_it_works_without_opengl() -> None:
    found = report("--gl", "none")
    assert (found["candidates"], found["choice"]) == ([], None)


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        (NO_GLX, {}, ["no GLX", "libgl1-mesa-dri", "--server-arg"]),
        ((), {"LD_LIBRARY_PATH": "DRIVERS"}, ["no config|no GLX", "libgallium-gone.so: cannot", "libgl1-mesa-dri"]),
        (("--server-arg=-nonsense",), {}, ["Unrecognized option: -nonsense", "--server-arg"]),
        (("--gl", "nvidia"), {}, ["nvidia: not loaded: libGLX_nvidia.so was ignored"]),
        (("--gl", "virtualgl", "--vgl-display", ":4999"), {}, ["virtualgl|VirtualGL"]),
    ],
    ids=["no GLX", "no drivers", "server refuses", "no NVIDIA", "no 3D X server"],
)
def test_what_is_broken_is_said_with_advice(
    options: tuple[str, ...], environ: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    if "LD_LIBRARY_PATH" in environ:
        environ = lacking_vendor(tmp_path)
    output = run("doctor", *options, env={**os.environ, **environ})
    assert (output.returncode, output.stderr) == (1, "")
    for word in (*words, "would not start your program", "advice"):
        assert re.search(word, output.stdout), output.stdout


@pytest.mark.parametrize(
    ("arguments", "result", "advised"),
    [
        *((arguments, result, "LD_PRELOAD") for arguments, result in BROKEN.values()),
        (HANGS["when loaded"], "hung", "--probe-timeout"),
    ],
    ids=[*BROKEN, "hangs"],
)
def test_a_broken_libgl_is_said_with_advice(arguments: list[str], result: str, advised: str, tmp_path: Path) -> None:
    folder = broken_gl(tmp_path, *arguments).parent
    environ = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    output = run("doctor", "--no-virtualgl", "--probe-timeout", "1", env=environ)
    assert (output.returncode, output.stderr) == (1, "")
    assert f"!! native: {result}" in output.stdout
    assert advised in output.stdout[output.stdout.index("\nadvice\n") :]


@pytest.mark.parametrize(
    ("by_egl", "renderer", "advised"),
    [("AMD Radeon", "llvmpipe", True), ("llvmpipe", "llvmpipe", False), ("AMD Radeon", "AMD Radeon", False)],
    ids=["GPU but software GLX", "no GPU", "GPU that draws"],
)
def test_a_gpu_that_only_egl_reaches_is_told_of(by_egl: str, renderer: str, advised: bool) -> None:
    """VTK from 9.4 on, and what else chooses EGL by itself, is better off without a display then."""
    test = {"interface": "egl", "renderer": by_egl, "hardware": by_egl != "llvmpipe"}
    found: dict[str, Any] = {"offscreen": [test], "devices": [], "advice": []}
    native = candidates.Candidate("native")
    selection = candidates.Selection(native, ((native, candidates.ProbeResult("drawn", renderer=renderer)),))
    doctor.add_selection(found, selection, OpenGLRequest())
    assert found["choice"]["name"] == "native"
    assert any("--gl none" in line for line in found["advice"]) is advised


def test_a_missing_xvfb_is_said_with_its_package(tmp_path: Path) -> None:
    output = run("doctor", "--server", "xvfb", env={"PATH": str(tmp_path)})
    assert output.returncode == 1
    assert "Xvfb: not found; required. Install it" in output.stdout
    assert "xvfb: not installed" in output.stdout
    assert output.stderr == ""


def test_missing_libraries_of_qt_are_named(tmp_path: Path) -> None:
    """A plugin that needs a library that is not there: Qt would abort, the doctor names the package."""
    platforms = tmp_path / "PyQt6" / "Qt6" / "plugins" / "platforms"
    platforms.mkdir(parents=True)
    (tmp_path / "PyQt6" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "empty.c").write_text("int needed(void) { return 1; }\n")
    library = tmp_path / "libxcb-cursor.so.0"
    make = ("-shared", "-fPIC", tmp_path / "empty.c", "-o")
    gcc(*make, library, "-Wl,-soname,libxcb-cursor.so.0")
    gcc(*make, platforms / "libqxcb.so", "-Wl,--no-as-needed", library)
    library.unlink()
    # By a path that ld.so does not have, whatever is installed here.
    plugin = platforms / "libqxcb.so"
    plugin.write_bytes(plugin.read_bytes().replace(b"libxcb-cursor.so.0", b"libxcb-cursor.so.9"))
    found = report(env={**os.environ, "PYTHONPATH": str(tmp_path)}, status=1)
    (pyqt6,) = (binding for binding in found["qt"] if binding["name"] == "PyQt6")
    assert pyqt6["missing"] == ["libxcb-cursor.so.9"]
    assert found["starts"]
    assert any("libxcb-cursor.so.9" in line for line in found["advice"])


@needs_namespaces
def test_its_status_is_what_a_pyqt_program_would_meet(tmp_path: Path) -> None:
    """A library of Qt's plugin is gone: Qt aborts, and the doctor names library, package and command."""
    folder = libraries.LIBRARY_FOLDERS[0]
    upper, work = tmp_path / "upper", tmp_path / "work"
    steps = [
        f"mount -t tmpfs none {tmp_path}",
        f"mkdir {upper} {work}",
        f"mount -t overlay -o lowerdir={folder},upperdir={upper},workdir={work} overlay {folder}",
        f"rm {folder}/libxcb-icccm.so.4*",
    ]
    hide = "; ".join(steps)
    if in_namespaces("true", setup=hide).returncode != 0:
        pytest.skip("no overlay can be mounted, or the libraries are elsewhere")
    program = in_namespaces(ANAHEADLESS, "run", PROGRAMS / "widget.py", setup=hide)
    assert program.returncode == 128 + signal.SIGABRT
    output = in_namespaces(ANAHEADLESS, "doctor", setup=hide)
    assert (output.returncode, output.stderr) == (1, "")
    assert "PyQt5: xcb platform plugin lacks libxcb-icccm.so.4 (package libxcb-icccm4)\n" in output.stdout
    assert "would abort" in output.stdout
    assert "apt-get install libxcb-icccm4" in output.stdout
    assert "apt-get install $(python3 -m anaheadless.packages apt)" in output.stdout


@pytest.mark.parametrize("name", ["", "__init__.py"], ids=["left over", "installed"])
def test_a_binding_without_a_platform_plugin_is_none(name: str, tmp_path: Path) -> None:
    """A folder alone is no binding; one that is there would abort. Of Qt 6: a system's own Qt 5 may have the plugin."""
    (tmp_path / "PySide6").mkdir()
    (tmp_path / "PySide6" / (name or "sip.so")).touch()
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = report(env=environ, status=1 if name else 0)
    assert [binding["xcb_plugin"] for binding in found["qt"] if binding["name"] == "PySide6"] == (
        [None] if name else []
    )
    assert any(line.startswith("PySide6: ") for line in found["advice"]) is bool(name)
    environ["QT_QPA_PLATFORM_PLUGIN_PATH"] = os.path.dirname(found["qt"][0]["xcb_plugin"])
    report(env=environ)


@pytest.mark.needs("readelf")
def test_every_library_that_qt_needs_has_its_package() -> None:
    """Of the binding that is installed here: what its GUI libraries and platform plugin are linked with."""
    (pyqt5,) = (binding for binding in report()["qt"] if binding["name"] == "PyQt5")
    libraries = Path(pyqt5["folder"]).glob("Qt5/lib/libQt5*.so.5")
    linked: set[str] = set()
    for path in (pyqt5["xcb_plugin"], *(each for each in libraries if re.search("Gui|XcbQpa|Widgets|DBus", each.name))):
        said = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
        linked |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))
    wanted = {name for name in linked if not re.match(r"lib(Qt5.*|icu.*|c|m|dl|rt|pthread|pulse.*|Xext)\.so|ld-", name)}
    assert len(wanted) > 20
    assert wanted <= packages.PACKAGES.keys()


def test_the_picture_shows_what_was_drawn(tmp_path: Path) -> None:
    """The picture is a PNG of the triangle, and not of nothing."""
    picture = tmp_path / "proof.png"
    report("--render", str(picture))
    data = picture.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    rows = zlib.decompress(data[start + 4 : start + 4 + length])
    assert (width, height, len(rows)) == (128, 128, 128 * (1 + 3 * 128))
    middle, corner = 64 * (1 + 3 * 128) + 1 + 3 * 64, 1
    for offset, colour in (middle, (255, 153, 51)), (corner, (51, 102, 153)):
        assert all(abs(a - b) <= 1 for a, b in zip(rows[offset : offset + 3], colour))


@pytest.mark.parametrize(
    ("path", "why"),
    [("gone/proof.png", "No such file or directory"), ("/dev/full", "No space left on device")],
    ids=["no folder", "no space"],
)
def test_a_picture_that_can_not_be_saved_is_said(path: str, why: str, tmp_path: Path) -> None:
    output = run("doctor", "--render", tmp_path / path)
    assert (output.returncode, output.stdout) == (125, "")
    message, hint = output.stderr.splitlines()
    assert message == f"anaheadless: the picture can't be saved: {tmp_path / path}: {why}"
    assert "--render" in hint


def test_an_old_picture_stays_where_nothing_is_drawn(tmp_path: Path) -> None:
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_text("old")
    for path in old, new:
        assert run("doctor", *NO_GLX, "--render", path).returncode == 1
    assert old.read_text() == "old"
    assert not new.exists()


def test_packages_explain_themselves() -> None:
    help_, wrong = (run("-m", "anaheadless.packages", word, command=sys.executable) for word in ("--help", "yum"))
    assert (help_.returncode, help_.stderr) == (0, "")
    assert "apt-get install $(python3 -m anaheadless.packages apt)" in help_.stdout
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("yum: ")
    assert help_.stdout in wrong.stderr


def test_only_packages_that_there_are_get_recommended() -> None:
    """Debian has no VirtualGL."""
    assert packages.PACKAGES["vglrun"]["apt"] == "-"
    names = {names["apt"] for names in packages.PACKAGES.values()} - {"-"}
    simulate = ["apt-get", "-s", "-qq", "install"]
    if packages.manager() != "apt" or subprocess.run([*simulate, "xvfb"], capture_output=True).returncode != 0:
        pytest.skip("there is no apt, or it has no list of packages")
    assert packages.install_hint("vglrun") == "Install it from the packages at https://virtualgl.org."
    simulated = subprocess.run([*simulate, *names], capture_output=True, text=True)
    assert (simulated.returncode, simulated.stderr) == (0, "")


def test_a_sitecustomize_that_talks_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    talking = tmp_path / "python"
    talking.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    talking.chmod(0o755)
    assert report("--python", str(talking))["qt"]


def test_another_interpreter_can_be_examined(tmp_path: Path) -> None:
    assert report("--python", "/usr/bin/python3")["python"]["path"] == "/usr/bin/python3"
    assert run("doctor", "--python", "gone").returncode == 127
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such luck >&2; exit 3\n")
    broken.chmod(0o755)
    found = report("--python", str(broken), status=1)
    assert found["candidates"][0]["result"] == "ended"
    assert "no such luck" in found["candidates"][0]["message"]


def test_colours_only_on_a_terminal() -> None:
    assert "\x1b" not in run("doctor").stdout
    controller, terminal = pty.openpty()
    with subprocess.Popen([ANAHEADLESS, "doctor"], stdin=terminal, stdout=terminal) as process:
        os.close(terminal)
        seen = b""
        try:
            while chunk := os.read(controller, 4096):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(controller)
    assert b"\x1b[32mok" in seen


def test_it_leaves_nothing(private_tmp: PrivateTmp) -> None:
    private_tmp.run("doctor")
    private_tmp.wait_until_nothing_is_left()
