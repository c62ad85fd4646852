"""Turns what Typer refuses (an unknown option, a missing argument, a value out of range) into errors like all others:
one line that says what is wrong and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer

from videomae_cli import filesystem
from videomae_cli.cli.options.sections import GUIDES
from videomae_cli.errors import OptionError

# The types of values that are checked by Typer, which has pydantic do it.
_NUMBERS = {"int": "a whole number", "float": "a number"}


@contextmanager
def refusing(context: Any, arguments: list[str]) -> Iterator[None]:
    """Raise OptionError for what Typer's parser refuses in the block.

    context: that of the command; arguments: what it is to parse.
    """
    given = list(arguments)
    try:
        yield
    except typer.TyperException as error:
        kind = type(error).__name__  # Typer exports no class of these
        if kind == "NoArgsIsHelpError":
            raise
        name = str(getattr(error, "option_name", "") or "")
        parameter = getattr(error, "param", None) or _named(context, name)
        if kind == "NoSuchOption":
            raise _unknown_option(context, name) from None
        if kind == "MissingParameter":
            raise _missing(context, parameter) from None
        if kind == "BadOptionUsage":
            raise _wrong_value(parameter, name, given) from None
        if kind == "BadParameter":
            raise _refused(parameter, error) from None
        raise _other(context, str(getattr(error, "message", error)), given) from None


def unknown_command(name: str, commands: Iterable[str]) -> OptionError:
    """Make the error for a command that doesn't exist."""
    if filesystem.is_there(name):
        reason = "{name!r} is a file or folder, not a command: give it to one, such as `videomae classify`"
        return OptionError.about(name, reason, name=name)
    if alike := _alike(name, commands):
        return OptionError.about(name, "there is no command {name!r}: did you mean {alike}?", name=name, alike=alike)
    return OptionError.about(name, "there is no command {name!r}: `videomae --help` lists them", name=name)


def _unknown_option(context: Any, name: str) -> OptionError:
    command = context.command.name
    flags = [flag for one in context.command.get_params(context) for flag in (*one.opts, *one.secondary_opts)]
    if alike := _alike(name, (flag for flag in flags if flag.startswith("--"))):
        return OptionError.about(name, "there is no option {name}: did you mean {alike}?", name=name, alike=alike)
    if context.parent is None:
        reason = "there is no option {name} before a command: options come after it, as in `videomae classify {name}`"
        return OptionError.about(name, reason, name=name)
    reason = "{command} has no option {name}: `videomae {command} --help` lists those it has"
    return OptionError.about(name, reason, name=name, command=command)


def _alike(name: str, known: Iterable[str]) -> str:
    """Return the known name that was meant most likely: one that begins like this, or is close to it; or ""."""
    names = {one.strip("-"): one for one in known}  # the dashes that all options have would make all of them alike
    meant = name.strip("-")
    longer = [one for one in names if len(meant) > 2 and one.startswith(meant)]
    found = next(iter(longer or get_close_matches(meant, names, n=1, cutoff=0.7)), None)
    return "" if found is None else names[found]


def _missing(context: Any, parameter: Any) -> OptionError:
    command = str(context.command.name)
    reason = "{command} needs {name}, as in `{example}`"
    return OptionError.about(
        command,
        reason,
        command=command,
        name=re.sub(r"[][]", "", _title(parameter)),
        example=GUIDES[command].examples[0],
    )


def _wrong_value(parameter: Any, name: str, given: list[str]) -> OptionError:
    if parameter is None or not parameter.is_flag:
        wanted = _wanted(parameter)
        return OptionError.about(name, "{name} needs a value after it: {wanted}", name=name, wanted=wanted)
    value = next((word.partition("=")[2] for word in given if word.startswith(f"{name}=")), "")
    return OptionError.about(name, "{name} takes no value: leave out {value!r}", name=name, value=f"={value}")


def _refused(parameter: Any, error: Any) -> OptionError:
    """Make the error for a value of the wrong type or out of range, from pydantic's error behind Typer's."""
    details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    name = _title(parameter, metavar=False)
    if not details or not _number(parameter):
        return OptionError.about(name, "{name}: {problem}", name=name, problem=getattr(error, "message", error))
    reason = "{name} takes {wanted}, not {value!r}"
    return OptionError.about(name, reason, name=name, wanted=_number(parameter), value=details[0].get("input"))


def _number(parameter: Any) -> str:
    """Say which number a parameter takes: "a whole number from 1 to 4,096"; "" if it takes none."""
    described = parameter.type_descriptor
    kind = next((words for kind, words in _NUMBERS.items() if kind in str(described.annotation)), "")
    low, high = (getattr(described.parameter_info, edge, None) for edge in ("min", "max"))
    if not kind or (low is None and high is None):
        return kind
    if low is None or high is None:
        return f"{kind}, {high:,} or less" if low is None else f"{kind}, {low:,} or more"
    return f"{kind} from {low:,} to {high:,}"


def _other(context: Any, message: str, given: list[str]) -> OptionError:
    """Make the error for arguments that are too many, the only other one of ours, or for whatever else Typer refuses."""
    command = context.command.name
    if "unexpected extra argument" in message:
        extra = message.partition("(s) (")[2].removesuffix(")") or " ".join(given[-1:])
        takes = " ".join(_title(one) for one in context.command.params if one.param_type_name == "argument")
        reason = "{command} takes {takes}: {extra!r} is too much"
        return OptionError.about("arguments", reason, command=command, takes=takes or "no argument", extra=extra)
    if "Missing command" in message:
        return OptionError.about("command", "no command was given: `videomae --help` lists them")
    return OptionError.about("arguments", "{message} (`videomae --help`)", message=message)


def _named(context: Any, flag: str) -> Any:
    parameters = context.command.get_params(context)
    return next((one for one in parameters if flag in (*one.opts, *one.secondary_opts)), None)


def _title(parameter: Any, *, metavar: bool = True) -> str:
    """Return "PATH" for an argument, "--output FILE" for an option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    flag = max(parameter.opts, key=len)
    return f"{flag} {parameter.metavar}" if metavar and parameter.metavar else str(flag)


def _wanted(parameter: Any) -> str:
    """Say what an option takes, in the words of its help."""
    if parameter is None:
        return "`videomae --help` says which"
    return str(parameter.metavar) if parameter.metavar else _number(parameter) or "text"
