"""Checks the arguments of public functions against their annotations, so that a wrong type is one clear error at the call.

Without this, `clips="3"` fails deep inside with a TypeError about `<`, and `overwrite="no"` overwrites. Arguments whose
annotations name something that is imported only for type checkers, such as arrays, are not checked here.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from videomae_cli.errors import OptionError
from videomae_cli.visible import visible

Function = TypeVar("Function", bound=Callable[..., Any])
_COLLECTIONS = (Iterable, Sequence, Mapping)
_SHOWN = 60
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "None"}

_ITEMS = {int: "whole numbers", float: "numbers", str: "text"}


def at_least(minimum: int, **values: float | None) -> None:
    """Check that no argument is below a minimum; None is one that was not given. Raises OptionError about the first that is."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise OptionError.about(
                name, "{@" + name + "} must be at least {minimum}, not {value}", minimum=minimum, value=value
            )


def check_seed(seed: int) -> None:
    """Raise OptionError for a seed that the random generators of NumPy or PyTorch don't take."""
    if not 0 <= seed < 2**63:
        raise OptionError.about("seed", "{subject} must be from 0 to 2**63 - 1, not {seed}", seed=seed)


class _MismatchError(Exception):
    """Raised for a value that doesn't have the annotated type."""


def checked(function: Function) -> Function:
    """Make a function refuse arguments of the wrong type with an OptionError that names the argument.

    Numbers of other libraries become Python's (`numpy.int64(3)` becomes 3, so that it can be written as JSON). True
    does not count as a number, nor text as a list of names. A missing or unknown argument raises TypeError, as usual.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message names the function
        known = _annotations(function)
        for name, value in bound.arguments.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                if unknown := [key for key in value if key not in known]:
                    raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {unknown[0]!r}")
                bound.arguments[name] = {key: _argument(key, one, known) for key, one in value.items()}
            else:
                bound.arguments[name] = _argument(name, value, known)
        return function(*bound.args, **bound.kwargs)

    return cast("Function", call)


@functools.cache
def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Map each argument that can be checked to its type; the keys of `**options: Unpack[...]` count as arguments."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        given = parameter.annotation
        try:
            kind = eval(given, function.__globals__) if isinstance(given, str) else given
        except (NameError, AttributeError, TypeError):  # it uses a name that is imported only for type checkers
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= get_type_hints(get_args(kind)[0])
        elif kind is not inspect.Parameter.empty and not isinstance(kind, str):
            found[name] = kind
    return found


def _argument(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if name not in known:
        return value
    try:
        if isinstance(value, str) and any(get_origin(option) is os.PathLike for option in _alternatives(known[name])):
            _check_encodable(value)
        return _taken(value, known[name])
    except _MismatchError:
        raise OptionError.about(
            name, "{subject} must be {wanted}, not {shown}", wanted=_in_words(known[name]), shown=_shown(value)
        ) from None


def _taken(value: Any, kind: Any) -> Any:
    """Return the value converted to the type. Raises _MismatchError."""
    if kind is Any or kind is object:
        return value
    options = _alternatives(kind)
    if len(options) > 1:
        for option in options:
            try:
                return _taken(value, option)
            except _MismatchError:
                continue
        raise _MismatchError
    if kind in (int, float, bool):
        return _number(value, kind)
    origin = get_origin(kind) or kind
    if origin is Sequence and getattr(value, "ndim", None) == 1 and callable(getattr(value, "tolist", None)):
        value = value.tolist()
    if not (callable(value) if origin is Callable else isinstance(value, origin)):
        raise _MismatchError
    if origin is os.PathLike and not isinstance(os.fspath(value), str):
        raise _MismatchError
    return _collection(value, get_args(kind)) if origin in _COLLECTIONS else value


def _check_encodable(name: str) -> None:
    """Check that a file can have this name. Raises _MismatchError for half of a character, which JSON may hold."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise _MismatchError from None


def _collection(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Convert the items of a list or a tuple too; a generator is returned unread. Raises _MismatchError."""
    if isinstance(value, str | bytes | bytearray) or getattr(value, "ndim", None) == 0:
        raise _MismatchError
    if len(kinds) != 1 or not isinstance(value, list | tuple):
        return value
    items = [_taken(item, kinds[0]) for item in value]
    return items if isinstance(value, list) else tuple(items)


def _number(value: Any, kind: Any) -> Any:
    """Convert a number to one of Python's own types. Raises _MismatchError."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        value = value.item()  # a number of NumPy or PyTorch
    if kind is bool and type(value) in (bool, int) and value in (0, 1):
        return bool(value)
    plain = type(value) in (int, float)
    wanted = numbers.Integral if kind is int else numbers.Real
    if kind is bool or isinstance(value, bool) or not isinstance(value, wanted):
        raise _MismatchError
    try:
        number = float(value)
    except OverflowError:  # larger than any float
        raise _MismatchError from None
    return value if plain else kind(number)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return (
        get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (types.NoneType if kind is None else kind,)
    )


def _in_words(kind: Any) -> str:
    """Describe a type for people, such as "a whole number or None"."""
    options = _alternatives(kind)
    origins = [get_origin(option) or option for option in options]
    words = []
    for option, origin in zip(options, origins, strict=True):
        if origin is str and os.PathLike in origins:
            continue
        if origin is os.PathLike:
            word = "a name or a path" if str in origins else "a path"
        elif origin is Callable:
            word = "a function"
        elif origin in _COLLECTIONS:
            word = f"a list{_items_in_words(option)}"
        else:
            word = _WORDS.get(option, f"a {getattr(origin, '__name__', origin)}")
        words.append(word)
    return " or ".join(dict.fromkeys(words))


def _items_in_words(kind: Any) -> str:
    """Describe the items of a list for people, such as " of names or paths"; empty if they may be anything."""
    kinds = get_args(kind)
    options = _alternatives(kinds[0]) if len(kinds) == 1 else ()
    origins = [get_origin(option) or option for option in options]
    if os.PathLike in origins:
        return " of names or paths"
    words = [_ITEMS.get(origin, f"{getattr(origin, '__name__', origin)} objects") for origin in origins]
    return f" of {' or '.join(words)}" if words else ""


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**20:
        digits = int(value.bit_length() * math.log10(2)) + 1  # Python refuses to format more than 4,300
        return f"a number of about {digits:,} digits"
    if value is None or isinstance(value, str | bytes | int | float):
        text = visible(repr(value))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return f"{kind} of {', '.join(dict.fromkeys(type(item).__name__ for item in value)) or 'nothing'}"[:_SHOWN]
    return kind
