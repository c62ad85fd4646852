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
from videomae_cli.errors import speaking
from videomae_cli.results import Classification, Timeline

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
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
    with speaking({}), GROUP.make_context("videomae", list(words)) as root:
        name, command, rest = GROUP.resolve_command(root, words)
        command.make_context(name, rest, parent=root).close()


@pytest.mark.parametrize("name", sorted(GROUP.commands))
def test_every_option_is_explained(name: str) -> None:
    assert [parameter.name for parameter in GROUP.commands[name].params if not parameter.help] == []


def test_the_table_lists_every_command() -> None:
    listed = set(re.findall(r"^\| `videomae (\w+)", README, flags=re.MULTILINE))
    assert listed == {entry.name for entry in COMMANDS_THERE}


def fields_of(section: str) -> set[str]:
    """The names in the first column of a section's first table."""
    text = re.split(r"^#+ ", README.split(f"\n## {section}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    table = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert table
    return set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table.group(), flags=re.MULTILINE))))


def test_the_output_table_lists_every_field() -> None:
    # path_bytes: only of a name that is not UTF-8
    assert fields_of("Output") == {*Classification("a", "b").as_dict(), "path_bytes"}


def test_the_table_of_timelines_lists_every_field_that_is_theirs() -> None:
    shared = fields_of("Output") - {"predictions", "frames", "timestamps"}
    assert fields_of("Long videos") == set(Timeline("a", "b").as_dict()) - shared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_our_pages_leads_somewhere(page: Path) -> None:
    """The file is there, and so is the heading, by the anchor that GitHub gives it."""
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_gap_that_was_to_be_filled(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"@@|\b(?:TODO|FIXME|TBD|XXX)\b|\]\(\s*\)", text) == []
    assert text.count("```") % 2 == 0, "a block of code has no end"
