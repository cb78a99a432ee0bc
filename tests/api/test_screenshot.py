"""screenshot(): what is on the display of this program; and the end of the display with a block."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.helpers import run
from tests.support.pictures import filled, read_png
from tests.support.plain import answer, bare

GREEN = (10, 200, 30)


def test_a_screenshot_has_what_was_only_just_shown(tmp_path: Path) -> None:
    said = answer(
        """
    info = anaheadless.setup_headless(screen='200x100', need_opengl=False, qapp=True)
    from PyQt5.QtWidgets import QWidget
    widget = QWidget()
    widget.setStyleSheet('background: rgb(10, 200, 30)')
    widget.setGeometry(0, 0, 200, 100)
    widget.show()
    taken = anaheadless.screenshot('new.png')
    say(
        same=taken == open('new.png', 'rb').read() == taken._repr_png_() == info.screenshot('again.png'),
        words=f'{taken!r} {taken}', size=len(taken),
    )
    """,
        cwd=tmp_path,
    )
    assert said == {
        "same": True,
        "words": "<Screenshot: 200x100> <Screenshot: 200x100>",
        "size": (tmp_path / "new.png").stat().st_size,
    }
    assert read_png(tmp_path / "new.png") == read_png(tmp_path / "again.png") == filled(200, 100, GREEN)


def test_a_screenshot_in_a_session_is_the_session_s(tmp_path: Path, script: Path) -> None:
    script.write_text(
        "import anaheadless; anaheadless.screenshot('x.png'); print(anaheadless.setup_headless().headless)"
    )
    output = run("run", "--gl", "none", "--screen", "64x48", script, cwd=tmp_path)
    assert (output.returncode, output.stdout, output.stderr) == (0, "True\n", "")
    assert read_png(tmp_path / "x.png").size == (64, 48)


@pytest.mark.parametrize("code", ["anaheadless.screenshot", "anaheadless.HeadlessInfo(display=':0').screenshot"])
def test_a_desktop_is_not_photographed(code: str) -> None:
    said = answer(f"say(words=tried({code}, 'x.png'))", env=bare(DISPLAY=":0"))
    assert "this program is on no virtual display" in said["words"]
    assert "anaheadless.setup_headless()" in said["words"]


def test_a_block_ends_the_display_that_it_has_started() -> None:
    said = answer(
        """
    def set_up():
        return anaheadless.setup_headless(need_opengl=False)
    def seen():
        return os.environ.get('DISPLAY')
    with set_up() as first:
        inside = [seen() == first.display]
        with set_up() as again:  # which starts nothing, and ends nothing
            inside += [again is first]
        inside += [seen() == first.display, first.virtual_display_proc.poll() is None]
        try:
            with set_up():
                raise RuntimeError
        except RuntimeError:
            inside += [seen() == first.display]
    after = [seen(), first.virtual_display_proc.wait(30)]
    second = set_up()  # this one is nobody's block
    with set_up():
        pass
    say(inside=inside, after=after, second=[seen() == second.display, second is not first])
    """
    )
    assert said == {"inside": [True] * 5, "after": [None, 0], "second": [True, True]}


def test_a_block_in_a_session_leaves_the_session(script: Path) -> None:
    script.write_text(
        "import anaheadless, os\n"
        "with anaheadless.setup_headless() as info: pass\n"
        "print(os.environ['DISPLAY'] == info.display, info.virtual_display_proc.poll())\n"
    )
    output = run("run", "--gl", "none", script)
    assert (output.returncode, output.stdout, output.stderr) == (0, "True None\n", "")


@pytest.mark.needs("xdpyinfo")
def test_the_display_of_this_program_has_the_options_that_it_is_given() -> None:
    said = answer(
        """
    info = anaheadless.setup_headless(screen='320x200x24', dpi=50, gl='none')
    say(shown=xdpyinfo(), glx=info.glx, backend=info.backend)
    """
    )
    assert "dimensions:    320x200 pixels" in said["shown"]
    assert "resolution:    50x50 dots per inch" in said["shown"]
    assert (said["glx"], said["backend"]) == (None, "none")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ("screen='huge'", "ValueError", "screen: 'huge' is not WIDTHxHEIGHT"),
        ("shim=False", "TypeError", "setup_headless() has no option 'shim'."),
        ("dpi='x'", "TypeError", "dpi has to be a whole number"),
        ("allow_virtualgl=False, gl='virtualgl'", "ValueError", "contradict each other"),
    ],
)
def test_wrong_options_are_refused_even_if_there_is_a_display(options: str, kind: str, words: str) -> None:
    said = answer(
        f"""
    anaheadless.setup_headless(need_opengl=False)
    try:
        anaheadless.setup_headless({options})
    except Exception as error:
        say(kind=type(error).__name__, words=str(error))
    """
    )
    assert said["kind"] == kind
    assert words in said["words"]
