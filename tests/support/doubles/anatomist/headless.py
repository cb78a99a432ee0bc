"""What anaheadless takes the place of: the text shows that it did not."""

from __future__ import annotations


def HeadlessAnatomist(*args: object, **kwargs: object) -> str:
    return "the real one"


Anatomist = HeadlessAnatomist
