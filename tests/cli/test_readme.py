"""What the README promises: its commands exist, with the options it uses, and its table is complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.commands import COMMANDS as COMMANDS_THERE
from videomae_cli.results import Classification

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^    (videomae .*)$", README, flags=re.MULTILINE)))


GROUP: Any = typer.main.get_command(app)  # typer carries its own click: its types have no public name


def help_of(command: str) -> str:
    return CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_is_one_that_exists(line: str) -> None:
    words = shlex.split(line)
    text = help_of(words[1])
    assert text.startswith("Usage: "), f"no command {words[1]}"
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"(^|[\s,]){re.escape(word)}\b", text), f"{words[1]} has no option {word}"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_parses(line: str) -> None:
    """Values and the number of arguments too; nothing is run."""
    words = shlex.split(re.split(r"\s(?:\||>|2>|&&|#)", line)[0])[1:]
    with GROUP.make_context("videomae", list(words)) as root:
        name, command, rest = GROUP.resolve_command(root, words)
        command.make_context(name, rest, parent=root).close()


@pytest.mark.parametrize("name", sorted(GROUP.commands))
def test_every_option_is_explained(name: str) -> None:
    assert [parameter.name for parameter in GROUP.commands[name].params if not parameter.help] == []


def test_the_table_lists_every_command() -> None:
    listed = set(re.findall(r"^\| `videomae (\w+)", README, flags=re.MULTILINE))
    assert listed == {entry.name for entry in COMMANDS_THERE}


def test_the_output_table_lists_every_field() -> None:
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE))))
    assert set(Classification("a", "b").as_dict()) <= listed


def test_the_readme_was_finished() -> None:
    assert "@@" not in README
