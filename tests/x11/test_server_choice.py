"""Which X server is taken, on machines of many kinds. No server runs."""

from __future__ import annotations

import itertools
import re

import pytest

from anaheadless.options import DEPTHS, Screen
from anaheadless.x11.servers.choice import KINDS, NoServerError, ServerRequest, choose_server

pytestmark = pytest.mark.any_server

ALL = "xvfb xwayland xvnc xorg"
GPU = "/dev/dri/renderD128"
WIDE, TINY, DEEP, SHALLOW = Screen(20000, 200), Screen(1, 1), Screen(640, 480, 30), Screen(640, 480, 16)

# What is installed, what is asked for, which kind is taken, and words of the reason.
MACHINES = {
    "a usual one": ("xvfb", {}, "xvfb", "the usual one"),
    "one with every server": (ALL, {}, "xvfb", "the usual one"),
    "EL 10, which has no Xvfb": ("xwayland", {}, "xwayland", "xvfb is not installed"),
    "a desktop": ("xwayland xorg", {}, "xwayland", "xvfb is not installed"),
    "a remote desktop": ("xvnc", {}, "xvnc", "xvfb is not installed; xwayland is not installed"),
    "a remote desktop with Xvfb": ("xvnc xvfb", {}, "xvfb", "the usual one"),
    "an old laboratory": ("xorg", {}, "xorg", "xvnc is not installed"),
    "an AMD GPU": (ALL, {"render_node": GPU}, "xwayland", f"{GPU} may draw on it"),
    "an AMD GPU, no Xwayland": ("xvfb xvnc", {"render_node": GPU}, "xvfb", "the usual one"),
    "an AMD GPU and VirtualGL": (ALL, {"render_node": GPU, "virtualgl": True}, "xvfb", "the usual one"),
    "an AMD GPU, VirtualGL, no Xvfb": (
        "xwayland xvnc",
        {"render_node": GPU, "virtualgl": True},
        "xwayland",
        "xvfb is not installed",
    ),
    "an AMD GPU, no OpenGL wanted": (ALL, {"render_node": GPU, "opengl": False}, "xvfb", "the usual one"),
    "an AMD GPU, 16 bits": (ALL, {"render_node": GPU, "screen": SHALLOW}, "xvfb", "the usual one"),
    "an AMD GPU, Xvfb forced": (ALL, {"render_node": GPU, "kind": "xvfb"}, "xvfb", "asked for"),
    "VirtualGL": ("xvfb xvnc", {"virtualgl": True}, "xvfb", "the usual one"),
    "16 bits": (ALL, {"screen": SHALLOW}, "xvfb", "the usual one"),
    "16 bits, no Xvfb": ("xwayland xvnc xorg", {"screen": SHALLOW}, "xorg", "xvfb is not installed"),
    "16 bits, Xvnc": ("xwayland xvnc", {"screen": SHALLOW}, "xvnc", "xvfb is not installed; xorg is not installed"),
    "30 bits, no Xvfb": ("xwayland xvnc xorg", {"screen": DEEP}, "xorg", "xvfb is not installed"),
    "a wide screen, Xvnc and Xorg": ("xvnc xorg", {"screen": WIDE}, "xorg", "xvnc can't make a screen of 20000x200x24"),
    "a tiny screen, Xvnc and Xorg": ("xvnc xorg", {"screen": TINY}, "xvnc", "xvfb is not installed"),
    "Xwayland forced": (ALL, {"kind": "xwayland"}, "xwayland", "asked for"),
    "Xvnc forced": (ALL, {"kind": "xvnc", "screen": SHALLOW}, "xvnc", "asked for"),
    "Xorg forced": (ALL, {"kind": "xorg", "screen": DEEP}, "xorg", "asked for"),
}

# What is installed, what is asked for, the message, and the programs of which one has to be installed.
REFUSED = {
    "no server": ("", {}, "no X server is installed", ("Xvfb", "Xwayland", "Xvnc", "Xorg")),
    "no server, 30 bits": ("", {"screen": DEEP}, "no X server is installed", ("Xvfb", "Xorg")),
    "16 bits, Xwayland": (
        "xwayland",
        {"screen": SHALLOW},
        "no installed X server (xwayland) can make a screen of 640x480x16",
        ("Xvfb", "Xorg", "Xvnc"),
    ),
    "30 bits, Xvnc": (
        "xwayland xvnc",
        {"screen": DEEP},
        "no installed X server (xwayland, xvnc) can make a screen of 640x480x30",
        ("Xvfb", "Xorg"),
    ),
    "a tiny screen, Xorg": (
        "xorg",
        {"screen": TINY},
        "no installed X server (xorg) can make a screen of 1x1x24",
        ("Xvfb", "Xwayland", "Xvnc"),
    ),
    "Xwayland forced, but missing": ("xvfb", {"kind": "xwayland"}, "Xwayland is not installed", ("Xwayland",)),
    "Xvfb forced, but missing": ("xwayland", {"kind": "xvfb"}, "Xvfb is not installed", ("Xvfb",)),
    "Xwayland forced, 16 bits": (
        ALL,
        {"kind": "xwayland", "screen": SHALLOW},
        "xwayland can't make a screen of 640x480x16; xvfb or xorg or xvnc can",
        (),
    ),
    "Xvnc forced, a wide screen": (
        ALL,
        {"kind": "xvnc", "screen": WIDE},
        "xvnc can't make a screen of 20000x200x24; xvfb or xwayland or xorg can",
        (),
    ),
}


@pytest.mark.parametrize(("installed", "request_", "expected", "reason"), MACHINES.values(), ids=MACHINES)
def test_server_of_a_machine(installed: str, request_: dict[str, object], expected: str, reason: str) -> None:
    kind, why = choose_server(installed.split(), ServerRequest(**request_))  # type: ignore[arg-type]
    assert kind.name == expected
    assert reason in why


@pytest.mark.parametrize(("installed", "request_", "message", "programs"), REFUSED.values(), ids=REFUSED)
def test_no_server_for_a_machine(
    installed: str, request_: dict[str, object], message: str, programs: tuple[str, ...]
) -> None:
    with pytest.raises(NoServerError, match=f"^{re.escape(message)}$") as caught:
        choose_server(installed.split(), ServerRequest(**request_))  # type: ignore[arg-type]
    assert caught.value.programs == programs


def test_the_choice_is_installed_and_can_make_the_screen_on_every_machine() -> None:
    names = [kind.name for kind in KINDS]
    machines = [chosen for count in range(len(names) + 1) for chosen in itertools.combinations(names, count)]
    screens = [*(Screen(640, 480, depth) for depth in DEPTHS), WIDE, TINY]
    extras = itertools.product(machines, screens, ["auto", *names], ["", GPU], [False, True], [False, True])
    for installed, screen, wanted, node, virtualgl, opengl in extras:
        try:
            kind, why = choose_server(installed, ServerRequest(screen, wanted, opengl, node, virtualgl))
        except NoServerError:
            possible = [kind for kind in KINDS if kind.name in installed and kind.can_make(screen)]
            assert not possible if wanted == "auto" else wanted not in [kind.name for kind in possible]
            continue
        assert kind.name in installed
        assert kind.can_make(screen)
        assert why
        assert wanted in ("auto", kind.name)
        if wanted == "auto" and "xvfb" in installed and not node:
            assert kind.name == "xvfb"
