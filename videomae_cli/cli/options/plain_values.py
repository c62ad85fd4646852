"""Takes values that are plainly right without Typer's help, which imports pydantic: a tenth of the time of a whole command.

Whatever is unusual goes to Typer, which takes or refuses it as ever (`wrong_usage`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_INT = re.compile(r"-?[0-9]{1,15}")
_FLOAT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_UNUSUAL = object()


def plainly(parameter: Any) -> Callable[[Any, Any], Any]:
    """Return what replaces the `process_value` of a parameter: the same results, for (context, value)."""
    by_typer: Callable[[Any, Any], Any] = parameter.process_value

    def process(context: Any, value: Any) -> Any:
        taken = _taken(parameter, value)
        if taken is _UNUSUAL or (parameter.required and parameter.value_is_missing(taken)):
            return by_typer(context, value)
        return taken if parameter.callback is None else parameter.callback(context, parameter, taken)

    return process


def plain_help(option: Any) -> Any:
    """Give the option --help, if there is one, a default of False: Typer's None is no plain value, and every help would be slower
    by a third."""
    if option is not None:
        option.default = False
    return option


def _taken(parameter: Any, value: Any) -> Any:
    described = parameter.type_descriptor
    kind, info = described.annotation, described.parameter_info
    several = parameter.multiple or parameter.nargs == -1
    if info.parser is not None or info.clamp:
        return _UNUSUAL
    if value is None:
        return () if several else None
    if several:
        texts = kind == list[str] and isinstance(value, list | tuple) and all(type(one) is str for one in value)
        return list(value) if texts else _UNUSUAL
    if type(value) is kind and kind in (str, bool):
        return value
    if kind is int or kind is float:
        return _number(kind, info, value)
    if kind is Path and isinstance(value, str | Path):
        return _path(info, value)
    return _UNUSUAL


def _number(kind: type[int] | type[float], info: Any, value: Any) -> Any:
    pattern = _INT if kind is int else _FLOAT
    if type(value) is not kind and not (type(value) is str and pattern.fullmatch(value)):
        return _UNUSUAL
    number = kind(value)
    outside = (info.min is not None and number < info.min) or (info.max is not None and number > info.max)
    return _UNUSUAL if outside else number


def _path(info: Any, value: str | Path) -> Any:
    asked = info.exists or info.resolve_path or info.allow_dash or info.writable or info.path_type is not None
    if asked or not (info.file_okay and info.dir_okay):
        return _UNUSUAL
    path = Path(value)
    return path if os.access(path, os.R_OK) or not os.path.lexists(path) else _UNUSUAL
