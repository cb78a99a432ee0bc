"""The packages that a user is told to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anaheadless import packages
from tests.support.helpers import run


def test_every_part_has_a_package_everywhere() -> None:
    for part, names in packages.PACKAGES.items():
        assert set(names) == set(packages.INSTALL), part
    assert packages.names_for(["libxcb-randr.so.0", "libxcb-shape.so.0"], "dnf") == "libxcb"


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ('NAME="AlmaLinux"\nVERSION_ID="10.0"\nPLATFORM_ID="platform:el10"\n', True),
        ("PLATFORM_ID=platform:el11\n", True),
        ('PLATFORM_ID="platform:el9"\n', False),
        ('PLATFORM_ID="platform:f42"\n', False),
        ('NAME="Debian GNU/Linux"\nVERSION_ID="13"\n', False),
        ("", False),
    ],
)
def test_enterprise_linux_10_gets_xwayland(os_release: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_os_release", lambda: os_release)
    names = packages.names_for(["Xvfb", "xkbcomp"], "dnf")
    assert names == ("xorg-x11-server-Xwayland xkbcomp" if expected else "xorg-x11-server-Xvfb xkbcomp")
    assert packages.names_for(["Xvfb"], "apt") == "xvfb"


def test_xvfb_is_not_missing_where_another_x_server_is(tmp_path: Path) -> None:
    server = tmp_path / "Xwayland"
    server.write_text("")
    server.chmod(0o755)
    output = run("-m", "anaheadless.packages", "apt", command=sys.executable, env={"PATH": str(tmp_path)})
    assert output.stderr == ""
    assert "xvfb" not in output.stdout.split()
