"""What stands for a frozen dataclass on the launch path behaves as one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from anaheadless.system.light_stdlib import Record


class Ours(Record):
    x: int
    y: str = "y"


@dataclasses.dataclass(frozen=True)
class Theirs:
    x: int
    y: str = "y"


@pytest.mark.parametrize("args", [(1,), (1, "z")])
@pytest.mark.parametrize("given", [{}, {"y": "w"}, {"x": 3}, {"z": 1}])
def test_a_record_behaves_as_a_frozen_dataclass(args: tuple[Any, ...], given: dict[str, Any]) -> None:
    try:
        theirs = Theirs(*args, **given)
    except TypeError:
        with pytest.raises(TypeError):
            Ours(*args, **given)
        return
    ours = Ours(*args, **given)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours.as_dict() == dataclasses.asdict(theirs)
    assert ours == Ours(theirs.x, theirs.y)
    assert ours != Ours(-1)
    assert ours != theirs
    assert hash(ours) == hash(Ours(theirs.x, theirs.y))
    assert ours.replace(x=5) == Ours(5, theirs.y)
    with pytest.raises(AttributeError):
        ours.x = 2  # type: ignore[misc]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError):
        Ours()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Ours(1, "y", 3)  # type: ignore[call-arg]
