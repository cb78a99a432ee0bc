"""Lightweight stand-ins for dataclasses, suppress and signal, which would delay every launch and every keeper."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
    from contextlib import suppress as suppress
    from typing import Any, ClassVar

    from typing_extensions import Self, dataclass_transform
else:
    # The C module behind signal. The enums that signal makes take a sixth of the keeper's memory and 4 ms per start.
    import _signal as signal  # noqa: F401

    def dataclass_transform(**_):
        return lambda decorated: decorated

    class suppress:  # noqa: N801
        """Stand-in for :class:`contextlib.suppress`; importing contextlib takes 2 ms per start."""

        def __init__(self, *expected):
            self._expected = expected

        def __enter__(self):
            pass

        def __exit__(self, kind, *_):
            return kind is not None and issubclass(kind, self._expected)


@dataclass_transform(frozen_default=True)
class Record:
    """Base class of frozen values, like a frozen dataclass without the import of dataclasses.

    The annotated names of a subclass are its fields. They are given by position or by name, can't be changed, and are
    compared by value. Fields are not inherited.
    """

    _names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        cls._names = tuple(cls.__annotations__)

    def __init__(self, *args: Any, **given: Any) -> None:
        values = {**dict(zip(self._names, args)), **given}
        defaults = {name: getattr(type(self), name) for name in self._names if hasattr(type(self), name)}
        if len(args) + len(given) != len(values) or {*values, *defaults} != set(self._names):
            raise TypeError(f"{type(self).__name__}{self._names} was given {args} and {given}")
        self.__dict__.update(defaults, **values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} can't be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, in their order."""
        return {name: getattr(self, name) for name in self._names}

    def replace(self, **changed: Any) -> Self:
        """Return a copy with other values of some fields."""
        return type(self)(**{**self.__dict__, **changed})
