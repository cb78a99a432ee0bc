"""The keywords of the Python functions, as the table of options has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TypeVar

from anaheadless.options import IN_PYTHON, LIST, Option, Screen

Function = TypeVar("Function", bound="Callable[..., object]")  # a string: Python 3.8 runs this, too


def with_keywords(function: Function, rows: Sequence[Option] = IN_PYTHON) -> Function:
    """Show the keywords of *rows* in the signature of *function*, in the place of ``**options``."""
    signature = inspect.signature(function)
    shown = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shown += [_parameter(option) for option in rows]
    function.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return function


def _parameter(option: Option) -> inspect.Parameter:
    default = str(option.default) if isinstance(option.default, Screen) else option.default
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation(option)
    )


def annotation(option: Option) -> str:
    """Return the type of an option's keyword, as it is written in Python code."""
    name = "Sequence[str]" if option.kind is LIST else option.kind.types[-1].__name__
    return f"{name} | None" if option.default is None else name
