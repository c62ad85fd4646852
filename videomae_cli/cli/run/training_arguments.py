"""Converts the options of `finetune` and `pretrain` to arguments of `videomae_cli.training`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from videomae_cli.cli.options.groups import ConsoleOptions, DecodingOptions
from videomae_cli.cli.run.training_progress import TerminalListener
from videomae_cli.errors import OptionError


def training_arguments(*groups: Any) -> dict[str, Any]:
    """Return the options of all groups under the argument names of `training.finetune` and `training.pretrain`.

    Raises OptionError for an invalid memory size or `--set` value.
    """
    given: dict[str, Any] = {}
    for group in groups:
        for name in (member.name for member in fields(group)):
            value = getattr(group, name)
            if isinstance(value, DecodingOptions):
                given |= {"timeout": value.seconds, "memory": value.memory}
            elif isinstance(value, ConsoleOptions):
                given |= {"debug": value.debug, "listener": TerminalListener(value.progress)}
            elif name == "set_values":
                given["values"] = parse_settings(value)
            else:
                assert not is_dataclass(value), f"{name} is a group that has no place in a training's arguments"
                given["compile" if name == "compiled" else name] = value
    return given


def parse_settings(pairs: Sequence[str] | None) -> dict[str, str]:
    """Read the NAME=VALUE pairs of `--set`. Raises OptionError."""
    values = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise OptionError.about(pair, "--set needs NAME=VALUE, not {subject!r}")
        values[name] = value
    return values
