"""The packages that a user is told to install."""

from __future__ import annotations

from anaheadless import packages


def test_every_part_has_a_package_everywhere() -> None:
    for part, names in packages.PACKAGES.items():
        assert set(names) == set(packages.INSTALL), part
    assert packages.names_for(["libxcb-randr.so.0", "libxcb-shape.so.0"], "dnf") == "libxcb"
