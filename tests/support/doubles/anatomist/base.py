from __future__ import annotations

from typing import Any


class Anatomist:
    """There is one instance of each class; the constructor's arguments count the first time."""

    _singleton_instance: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if "_singleton_instance" not in cls.__dict__:
            cls._singleton_instance = super().__new__(cls)
            cls._singleton_instance.__singleton_init__(*args, **kwargs)
        return cls._singleton_instance

    def __singleton_init__(self, *args: Any, **kwargs: Any) -> None:
        self.arguments = [list(args), kwargs]
